package main

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"reflect"
	"runtime"
)

// layout prints where fields of tls.Conn are.
func layout() {
	places := map[string]any{"go": runtime.Version()}
	conn := reflect.TypeOf(tls.Conn{})
	for _, name := range []string{
		"conn", "isClient", "serverName", "clientProtocol", "vers", "cipherSuite",
	} {
		field, ok := conn.FieldByName(name)
		if ok {
			places[name] = field.Offset
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(places))
}
