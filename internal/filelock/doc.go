// Package filelock locks files that several runs must not write at once.
package filelock
