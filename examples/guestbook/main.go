// Command guestbook is the service of docs/tutorial.md: it keeps guest books, in shards.
//
//	guestbook serve --listen 127.0.0.1:9001 --agent unix:///tmp/guestbook/a.sock --data /tmp/guestbook/data
//	guestbook sign --allocators 127.0.0.1:7410 --name ann lobby terrace
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	run := map[string]func(context.Context, []string) error{"serve": serve, "sign": sign}[verb]
	if run == nil {
		fmt.Fprintln(os.Stderr, "usage: guestbook serve|sign …, each with -h")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "guestbook:", err)
		os.Exit(1)
	}
}

// serve is one server of the app.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("guestbook serve", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:9001", "where requests arrive, host:port; it is what others are told, too")
	agent := flags.String("agent", sdk.DefaultAgentAddress, "where the agent beside this process listens")
	data := flags.String("data", "/tmp/guestbook/data", "directory that all servers share")
	_ = flags.Parse(args) // ExitOnError
	if err := os.MkdirAll(*data, 0o755); err != nil {
		return err
	}
	app := newService(&storage{directory: *data})
	host, err := sdk.NewHost("guestbook", app, sdk.WithDataAddress(*listen), sdk.WithAgentAddress(*agent), sdk.WithSingleProcess())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(host.Handler())            // for the agent and for other servers
	mux.Handle("/", host.Middleware(app)) // checks shard, term and lease; forwards during a move
	server := http.Server{Addr: *listen, Handler: mux, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	go func() { failed <- host.Run(ctx) }()
	err = <-failed
	return errors.Join(err, server.Close())
}

// sign is a client: it signs pages, one after the other, each at the owner of its shard.
func sign(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("guestbook sign", flag.ExitOnError)
	allocators := flags.String("allocators", "127.0.0.1:7410", "where allocators tell the shard map, separated by commas")
	name := flags.String("name", "somebody", "who signs")
	times := flags.Int("times", 1, "how often, ten times a second")
	_ = flags.Parse(args) // ExitOnError
	router, err := sdk.NewRouter("guestbook", sdk.WithAgent(""), sdk.WithAllocators(strings.Split(*allocators, ",")...))
	if err != nil {
		return err
	}
	go func() { _ = router.Run(ctx) }()
	if err := router.Ready(ctx); err != nil {
		return err
	}
	client := http.Client{Transport: router.Transport(nil)}
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	failed := 0
	for i := range *times {
		if i > 0 {
			<-pause.C
		}
		for _, page := range flags.Args() {
			answer, err := post(sdk.WithKey(ctx, page), &client, page, *name)
			if err != nil {
				failed, answer = failed+1, fmt.Sprintf("%s: %v\n", page, err)
			}
			fmt.Print(answer)
		}
	}
	fmt.Printf("%d requests, %d failed\n", *times*flags.NArg(), failed)
	return nil
}

func post(ctx context.Context, client *http.Client, page, name string) (string, error) {
	to := url.URL{Scheme: "http", Host: "guestbook", Path: page, RawQuery: url.Values{"name": {name}}.Encode()} // the key says where, not the host
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }() // it has been read
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return string(text), err
}
