//go:build !cuda

package main

// What a program without the backend says.
const (
	wantNotes = 0
	wantWhy   = "built without the tag cuda"
)
