package main

import "testing"

func TestSecondsText(t *testing.T) {
	for s, want := range map[float64]string{0.25: "0.25 s", 28900: "8h1m40s"} {
		if got := secondsText(s); got != want {
			t.Errorf("%g seconds: %s, want %s", s, got, want)
		}
	}
}
