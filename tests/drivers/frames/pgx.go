package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/jackc/pgx/v4"
)

// One line for each case: context, and in hexadecimal digits text, bytes and JSON.
func main() {
	ctx := context.Background()
	connection, err := pgx.Connect(ctx, "sslmode=disable")
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
		var document any
		if err := json.Unmarshal(decoded[2], &document); err != nil {
			log.Fatal(err)
		}
		if err := run(ctx, connection, values[0], string(decoded[0]), decoded[1], document); err != nil {
			log.Fatal(err)
		}
	}
}

func run(ctx context.Context, connection *pgx.Conn, ledger, text string, data []byte, document any) error {
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
		if _, err := connection.Exec(ctx, "SELECT ledger_append($1, $2, $3)", ledger, key, payload); err != nil {
			fmt.Fprintln(os.Stderr, "refused:", err)
		}
	}
	plainly("text", text)
	plainly("bytes", data)
	plainly("json", document)
	return nil
}
