package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"
)

// settled is a handshake as an end of its connection knows it.
type settled struct {
	Role       string  `json:"role"`
	Local      string  `json:"local"`
	ServerName string  `json:"sni"`
	Protocol   string  `json:"alpn"`
	Version    uint16  `json:"version"`
	Cipher     string  `json:"cipher"`
	Failed     bool    `json:"failed"`
	TookMs     float64 `json:"took_ms"`
}

// handshakes has one client each that offers no more than TLS 1.2, one that takes what comes, and one
// that does not trust the server's certificate.
func handshakes() {
	own := certificate()
	parsed, err := x509.ParseCertificate(own.Certificate[0])
	check(err)
	trusted := x509.NewCertPool()
	trusted.AddCert(parsed)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2", "x-two"}}
	for _, client := range []tls.Config{
		{ServerName: "old.localhost", MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true},
		{ServerName: "localhost", RootCAs: trusted, NextProtos: []string{"x-one", "x-two"}},
		{ServerName: "localhost", RootCAs: x509.NewCertPool()},
	} {
		accepted := make(chan struct{})
		go func() {
			defer close(accepted)
			conn, err := listener.Accept()
			check(err)
			shake(tls.Server(conn, &server), "server")
		}()
		conn, err := net.Dial("tcp", listener.Addr().String())
		check(err)
		shake(tls.Client(conn, &client), "client")
		<-accepted
	}
}

// talk sends a byte and gets one, in this order if it is the first to speak.
func talk(conn *tls.Conn, first bool) {
	if first {
		_, err := conn.Write([]byte("?"))
		check(err)
	}
	// The end of what the other one sends can come with its byte.
	if n, err := conn.Read(make([]byte, 1)); n == 0 {
		fail(err)
	}
	if !first {
		_, err := conn.Write([]byte("!"))
		check(err)
	}
}

// shake shakes hands, sends a byte to and fro if that succeeded, and says what became of it.
func shake(conn *tls.Conn, role string) {
	began := time.Now()
	err := conn.Handshake()
	took := time.Since(began)
	state := conn.ConnectionState()
	if err == nil {
		talk(conn, role == "client")
	}
	printing.Lock()
	check(json.NewEncoder(os.Stdout).Encode(settled{
		Role: role, Local: conn.LocalAddr().String(), ServerName: state.ServerName,
		Protocol: state.NegotiatedProtocol, Version: state.Version,
		Cipher: fmt.Sprintf("0x%04x", state.CipherSuite), Failed: err != nil,
		TookMs: float64(took.Nanoseconds()) / 1e6,
	}))
	printing.Unlock()
	check(conn.Close())
}
