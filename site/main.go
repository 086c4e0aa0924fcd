// Command site writes the documentation as a static web site: the pages of docs, a page
// for each verb, method, model family and package, a gallery, and a search.
//
//	go run ./site -attnscope ./attnscope -o build/site
//
// Every page is Markdown, from a file of the repository or made here, and is rendered in
// one way. The pages load nothing from other hosts and also work when opened from a folder.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	root := flag.String("root", ".", "the `FOLDER` of the repository")
	program := flag.String("attnscope", "./attnscope", "take the help of the verbs from this `PROGRAM`")
	out := flag.String("o", "build/site", "write the site to `FOLDER`, which is replaced")
	flag.Parse()
	s, err := newSite(*root, *program)
	if err == nil {
		err = s.write(*out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
	fmt.Printf("%d pages: %s/index.html\n", len(s.pages), *out)
}
