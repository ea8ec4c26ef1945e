// A TLS client and server of Go's own crypto/tls for the live tests, which says of every end of
// every connection what went through it.
//
//	peer exchange CONNECTIONS MESSAGES    both ends in this process
//	peer serve [ADDRESS]                  HTTPS until it is killed; prints its address first
//	peer fetch ADDRESS PROTO CONNS COUNT  HTTPS clients, PROTO is http/1.1 or h2
//	peer handshakes                       both ends of three connections, of which the last fails
//	peer layout                           where this version of Go has the fields of tls.Conn
//
// What it prints is lines of JSON. Everything is on loopback, and nothing lasts longer than three minutes.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

func main() {
	time.AfterFunc(3*time.Minute, func() { fail(fmt.Errorf("took longer than three minutes")) })
	// More threads than processors: goroutines change between them all the time.
	runtime.GOMAXPROCS(4)
	args := os.Args[1:]
	switch {
	case len(args) == 3 && args[0] == "exchange":
		exchange(number(args[1]), number(args[2]))
	case len(args) == 1 && args[0] == "serve":
		serve("127.0.0.1:0")
	case len(args) == 2 && args[0] == "serve":
		serve(args[1])
	case len(args) == 5 && args[0] == "fetch":
		fetch(args[1], args[2], number(args[3]), number(args[4]))
	case len(args) == 1 && args[0] == "handshakes":
		handshakes()
	case len(args) == 1 && args[0] == "layout":
		layout()
	default:
		fail(fmt.Errorf("usage: see main.go"))
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "peer:", err)
	os.Exit(1)
}
