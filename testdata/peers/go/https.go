package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
)

// said is a request as an end of its connection knows it.
type said struct {
	Path     string `json:"path"`
	Client   string `json:"client"`
	Server   string `json:"server"`
	Sent     string `json:"request_sha256"`
	Received string `json:"response_sha256"`
}

func (s said) print() {
	printing.Lock()
	defer printing.Unlock()
	check(json.NewEncoder(os.Stdout).Encode(s))
}

func sum(data []byte) string {
	hash := sha256.Sum256(data)
	return hex.EncodeToString(hash[:])
}

// body is that many bytes, different for each seed.
func body(size, seed int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i*7 + i>>8*3 + seed)
	}
	return data
}

// serve answers /SIZE/SEED with such a body, by HTTP/1.1 and HTTP/2.
func serve(address string) {
	listener, err := net.Listen("tcp", address)
	check(err)
	fmt.Println(listener.Addr())
	server := http.Server{
		Handler:   http.HandlerFunc(respond),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}},
	}
	fail(server.ServeTLS(listener, "", ""))
}

func respond(w http.ResponseWriter, r *http.Request) {
	request, err := io.ReadAll(r.Body)
	check(err)
	var size, seed int
	_, err = fmt.Sscanf(r.URL.Path, "/%d/%d", &size, &seed)
	check(err)
	response := body(size, seed)
	said{
		Path: r.URL.Path, Client: r.RemoteAddr,
		Server: r.Context().Value(http.LocalAddrContextKey).(net.Addr).String(),
		Sent:   sum(request), Received: sum(response),
	}.print()
	// No length is announced: curl would leave with the last byte of it, and not wait for the frame
	// that ends the stream.
	_, err = w.Write(response)
	check(err)
}

// fetch asks that often on each of so many connections, all at once.
func fetch(address, proto string, connections, count int) {
	var clients sync.WaitGroup
	for i := 0; i < connections; i++ {
		clients.Add(1)
		go func(i int) {
			defer clients.Done()
			transport := &http.Transport{
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"},
				ForceAttemptHTTP2: proto == "h2",
				MaxConnsPerHost:   1,
			}
			if proto != "h2" {
				transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			}
			client := &http.Client{Transport: transport}
			for n := 0; n < count; n++ {
				ask(client, address, proto, i*count+n)
			}
			transport.CloseIdleConnections()
		}(i)
	}
	clients.Wait()
}

func ask(client *http.Client, address, proto string, seed int) {
	var local, remote string
	trace := httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		local, remote = info.Conn.LocalAddr().String(), info.Conn.RemoteAddr().String()
	}}
	sizes := []int{0, 1, 700, 8192, 16384, 16385, 100_000}
	path := fmt.Sprintf("/%d/%d", sizes[seed%len(sizes)], seed)
	request := body(sizes[(seed+3)%len(sizes)], seed)
	ctx := httptrace.WithClientTrace(context.Background(), &trace)
	r, err := http.NewRequestWithContext(ctx, "POST", "https://"+address+path, bytes.NewReader(request))
	check(err)
	response, err := client.Do(r)
	check(err)
	data, err := io.ReadAll(response.Body)
	check(err)
	check(response.Body.Close())
	if want := map[string]int{"http/1.1": 1, "h2": 2}[proto]; response.ProtoMajor != want {
		fail(fmt.Errorf("answered by %s", response.Proto))
	}
	said{Path: path, Client: local, Server: remote, Sent: sum(request), Received: sum(data)}.print()
}
