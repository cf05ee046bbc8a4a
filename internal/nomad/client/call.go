package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// Limits of answers: one list of allocations of a large job, and an error's text.
const (
	mostAnswer = 256 << 20
	mostError  = 500
)

// get asks for a value.
func (c *Client) get(ctx context.Context, path string, query url.Values, answer any) error {
	return c.call(ctx, http.MethodGet, path, query, nil, answer)
}

// post gives an order; nothing of the answer matters.
func (c *Client) post(ctx context.Context, path, namespace string, body any) error {
	query := url.Values{}
	if namespace != "" {
		query.Set("namespace", namespace)
	}
	return c.call(ctx, http.MethodPost, path, query, body, nil)
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	response, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it has been read
	if answer == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(response.Body, mostAnswer))
	} else {
		err = json.NewDecoder(io.LimitReader(response.Body, mostAnswer)).Decode(answer)
	}
	if err != nil {
		return fmt.Errorf("nomad: %s: %w", path, err)
	}
	return nil
}

// send makes a request, and returns the answer if it is a good one.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var payload io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("nomad: %s: %w", path, err)
		}
		payload = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+query.Encode(), payload)
	if err != nil {
		return nil, fmt.Errorf("nomad: %s: %w", path, err)
	}
	if c.cfg.TokenFile != "" {
		token, err := os.ReadFile(c.cfg.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("nomad_token_file: %w", err)
		}
		request.Header.Set("X-Nomad-Token", strings.TrimSpace(string(token)))
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("nomad: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, mostError)) // what there is of it
		_ = response.Body.Close()
		return nil, fmt.Errorf("nomad: %s: %s: %s", path, response.Status, strings.TrimSpace(string(text)))
	}
	return response, nil
}
