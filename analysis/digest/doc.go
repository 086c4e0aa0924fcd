// Package digest reduces a recorded layer of a prompt to what its rates and
// measures follow from, so that other settings are answered without reading the
// layer again. The viewer is built on it.
package digest
