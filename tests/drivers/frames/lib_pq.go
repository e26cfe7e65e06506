package main

import (
	"bufio"
	"database/sql"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"strings"

	_ "github.com/lib/pq"
)

// One line for each case: context, and in hexadecimal digits text, bytes and JSON.
func main() {
	db, err := sql.Open("postgres", "sslmode=disable")
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		values := strings.Split(lines.Text(), "\t")
		var decoded [3][]byte
		for at := range decoded {
			if decoded[at], err = hex.DecodeString(values[at+1]); err != nil {
				log.Fatal(err)
			}
		}
		if err := run(db, values[0], string(decoded[0]), decoded[1], string(decoded[2])); err != nil {
			log.Fatal(err)
		}
	}
}

func run(db *sql.DB, ledger, text string, data []byte, document string) error {
	// Handles the entries of a context until all that the example has appended were there.
	handled := 0
	running := func() bool { return handled < 4 }
	handle := func(sequence int64, key string, payload []byte) {
		fmt.Printf("%s\t%d\t%s\t%x\n", ledger, sequence, key, payload)
		handled++
	}
	request := "request 1"
	var position, sequence int64
	// the example
	fmt.Printf("%s\t%d\tretried\n", ledger, sequence)
	// The overloaded function in the plainest way: it may refuse.
	plainly := func(key string, payload any) {
		if _, err := db.Exec("SELECT ledger_append($1, $2, $3)", ledger, key, payload); err != nil {
			fmt.Fprintln(os.Stderr, "refused:", err)
		}
	}
	plainly("text", text)
	plainly("bytes", data)
	plainly("json", document)
	return nil
}
