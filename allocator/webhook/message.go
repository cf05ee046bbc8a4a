package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/internal/surroundings"
)

const (
	// answerMost is how much of an answer is read, headers and body each, in bytes. Nothing is done with it: a connection whose answer was read to its
	// end is used again.
	answerMost = 16 << 10
	// reasonMost is how many bytes of an error are kept.
	reasonMost = 200
	// dialWithin is how long a connection may take.
	dialWithin = 5 * time.Second
)

// message is one thing that a target is told.
type message struct {
	id       string // the same at each attempt
	at       time.Time
	body     []byte
	attempts int
	reason   string // why the last attempt failed
}

// payload is the body of a message, as the specification has it, and the cluster.
type payload struct {
	Type      string          `json:"type"`
	Timestamp string          `json:"timestamp"`
	Cluster   string          `json:"cluster"`
	Data      json.RawMessage `json:"data"`
}

// messageOf is an event as targets are told it. A gap has the position of the event before it, so its id says that it is one.
func messageOf(cluster string, e events.Event) (message, error) {
	data, err := protojson.Marshal(feed.ToProto(e))
	if err != nil {
		return message{}, err
	}
	kind := feed.TypeOf(e)
	return newMessage(kind+"_"+cluster+"."+feed.Written(e.Position), cluster, kind, e.At, data)
}

func newMessage(id, cluster, kind string, at time.Time, data []byte) (message, error) {
	body, err := json.Marshal(payload{Type: kind, Timestamp: at.UTC().Format(time.RFC3339Nano), Cluster: cluster, Data: data})
	return message{id: id, at: at, body: body}, err
}

// errGone is the answer of a target that wants nothing any more.
var errGone = errors.New("it answered 410 Gone")

// newClient makes what reaches one target: two connections at most, no redirects, and little of any answer.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: surroundings.Dialer((&net.Dialer{Timeout: dialWithin}).DialContext), TLSHandshakeTimeout: dialWithin,
			MaxConnsPerHost: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: answerMost, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// attempt sends a message once. Nil: the target has it. errGone: it wants nothing any more.
func (t *Target) attempt(ctx context.Context, client *http.Client, within time.Duration, m message) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL.String(), bytes.NewReader(m.body))
	if err != nil {
		return err
	}
	now := time.Now()
	var signatures []string
	for _, secret := range t.secrets {
		signature, err := secret.Sign(m.id, now, m.body)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		signatures = append(signatures, signature)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "shardmanager")
	r.Header.Set(standardwebhooks.HeaderWebhookID, m.id)
	r.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	r.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	answer, err := client.Do(r)
	if err != nil {
		return worded(err, within)
	}
	_, _ = io.CopyN(io.Discard, answer.Body, answerMost) // whatever it is
	_ = answer.Body.Close()
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusGone:
		return errGone
	case code >= 300 && code < 400:
		return fmt.Errorf("it answered %d: redirects are not followed, set url to where it is", code)
	default:
		return fmt.Errorf("it answered %d", code)
	}
}

// worded is why no answer came, short and without the address, which operators know and which may hold a secret.
func worded(err error, within time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", within)
	}
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) > reasonMost {
		text = strings.ToValidUTF8(text[:reasonMost], "") + "…"
	}
	return errors.New(text)
}
