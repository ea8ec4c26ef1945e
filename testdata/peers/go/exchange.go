package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// end is one end of a connection and what it handed to TLS or got from it.
type end struct {
	conn           *tls.Conn
	role           string
	sent, received hash.Hash
	sentBytes      int
	receivedBytes  int
	local, remote  string
}

func newEnd(conn *tls.Conn, role string) *end {
	return &end{
		conn: conn, role: role, sent: sha256.New(), received: sha256.New(),
		local: conn.LocalAddr().String(), remote: conn.RemoteAddr().String(),
	}
}

var printing sync.Mutex

func (e *end) print() {
	printing.Lock()
	defer printing.Unlock()
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"end":  e.role + " " + e.conn.ConnectionState().ServerName,
		"role": e.role, "local": e.local, "remote": e.remote,
		"sent": e.sentBytes, "sent_sha256": hex.EncodeToString(e.sent.Sum(nil)),
		"received": e.receivedBytes, "received_sha256": hex.EncodeToString(e.received.Sum(nil)),
	}))
}

func (e *end) write(data []byte) {
	e.sent.Write(data)
	e.sentBytes += len(data)
	_, err := e.conn.Write(data)
	check(err)
}

// writeMapped writes the same from a file that is mapped and of which nothing was read so far, as are
// the files that a program carries in itself.
func (e *end) writeMapped(data []byte) {
	e.sent.Write(data)
	e.sentBytes += len(data)
	file, err := os.CreateTemp("", "peer")
	check(err)
	defer os.Remove(file.Name())
	defer file.Close()
	_, err = file.Write(data)
	check(err)
	mapped, err := syscall.Mmap(int(file.Fd()), 0, len(data), syscall.PROT_READ, syscall.MAP_SHARED)
	check(err)
	_, err = e.conn.Write(mapped)
	check(err)
	check(syscall.Munmap(mapped))
}

// readTo reads that many bytes in all, each time into a buffer on a stack of its own, which is small
// at first: the handshake that may be within, or what happens meanwhile, makes it grow and move.
func (e *end) readTo(total int) {
	for e.receivedBytes < total {
		done := make(chan struct{})
		go func() {
			defer close(done)
			e.readOnStack(total)
		}()
		<-done
	}
}

// The compiler leaves the buffer on the stack: Read of a *tls.Conn does not keep it, nor is it given to
// anything else.
func (e *end) readOnStack(total int) {
	var buffer [300]byte
	limit := len(buffer)
	if rest := total - e.receivedBytes; rest < limit {
		limit = rest
	}
	n, err := e.conn.Read(buffer[:limit])
	e.received.Write(append([]byte(nil), buffer[:n]...))
	e.receivedBytes += n
	if err != nil && !(err == io.EOF && n > 0) {
		fail(fmt.Errorf("read: %w", err))
	}
}

// message is the nth one of a connection, told apart from all others by its bytes.
func message(conn, n int) []byte {
	data := make([]byte, 1+(conn*7919+n*104729)%20000)
	for i := range data {
		data[i] = byte(i*31 + i>>8*17 + conn*13 + n*101)
	}
	return data
}

// exchange has many connections at once send messages to and fro.
func exchange(connections, messages int) {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate()},
	})
	check(err)
	stop := churn()
	var ends sync.WaitGroup
	ends.Add(2 * connections)
	for i := 0; i < connections; i++ {
		go func(i int) {
			defer ends.Done()
			conn, err := net.Dial("tcp", listener.Addr().String())
			check(err)
			config := tls.Config{InsecureSkipVerify: true, ServerName: fmt.Sprintf("host-%d.test", i)}
			converse(newEnd(tls.Client(conn, &config), "client"), i, messages)
		}(i)
	}
	for i := 0; i < connections; i++ {
		conn, err := listener.Accept()
		check(err)
		go func() {
			defer ends.Done()
			answer(newEnd(conn.(*tls.Conn), "server"), messages)
		}()
	}
	ends.Wait()
	close(stop)
}

// converse says which connection it is, then sends messages and reads what comes back.
func converse(e *end, conn, messages int) {
	e.write([]byte(fmt.Sprintf("%08d", conn)))
	expected := 0
	for n := 0; n < messages; n++ {
		data := message(conn, n)
		if n%5 == 0 {
			e.writeMapped(data)
		} else {
			e.write(data)
		}
		expected += len(data)
		e.readTo(expected)
	}
	check(e.conn.CloseWrite())
	check(e.conn.Close())
	e.print()
}

// answer sends back what the other end sends.
func answer(e *end, messages int) {
	e.readTo(8)
	// What was read is not kept, so the name is asked for instead.
	var conn int
	_, err := fmt.Sscanf(e.conn.ConnectionState().ServerName, "host-%d.test", &conn)
	check(err)
	expected := 8
	for n := 0; n < messages; n++ {
		data := message(conn, n)
		expected += len(data)
		e.readTo(expected)
		e.write(data)
	}
	check(e.conn.Close())
	e.print()
}

// churn collects garbage all the time, which also makes stacks shrink that wait in a read.
func churn() chan struct{} {
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				runtime.GC()
			}
		}
	}()
	return stop
}
