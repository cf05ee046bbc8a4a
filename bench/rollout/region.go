package main

import "context"

func region(ctx context.Context, c config) (any, error) { return nil, nil }
func forced(ctx context.Context, c config) (any, error) { return nil, nil }
