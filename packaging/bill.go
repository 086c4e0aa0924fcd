package main

import (
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The documents of SPDX 2.3, as far as they are used.
type (
	document struct {
		Version       string         `json:"spdxVersion"`
		License       string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []bundled      `json:"packages"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	bundled struct {
		ID           string      `json:"SPDXID"`
		Name         string      `json:"name"`
		Version      string      `json:"versionInfo"`
		Location     string      `json:"downloadLocation"`
		Analyzed     bool        `json:"filesAnalyzed"`
		Concluded    string      `json:"licenseConcluded"`
		Declared     string      `json:"licenseDeclared"`
		Copyright    string      `json:"copyrightText"`
		Comment      string      `json:"comment,omitempty"`
		Checksums    []checksum  `json:"checksums,omitempty"`
		ExternalRefs []reference `json:"externalRefs,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	reference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

// noAssertion is what SPDX says where nothing is known.
const noAssertion = "NOASSERTION"

// bill lists the binaries and the modules that were linked into them.
func (r *release) bill() ([]byte, error) {
	d := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "attnscope-" + r.Version,
		Namespace: r.Address("attnscope-"+r.Version+".spdx.json") + "#" + r.Binaries[0].SHA256,
		Creation:  creation{Created: r.Date, Creators: []string{"Tool: attnscope-packaging"}},
	}
	modules := map[string]bundled{}
	for _, b := range r.Binaries {
		info, err := buildinfo.ReadFile(b.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.path, err)
		}
		id := spdxID("binary", b.Name)
		d.Packages = append(d.Packages, bundled{
			ID: id, Name: b.Name, Version: r.Version, Location: r.Address(b.Name), Concluded: "Apache-2.0",
			Declared: "Apache-2.0", Copyright: noAssertion, Checksums: []checksum{{"SHA256", b.SHA256}},
		})
		d.Relationships = append(d.Relationships, relationship{d.ID, "DESCRIBES", id})
		modules["std"] = bundled{
			Name: "Go standard library", Version: strings.TrimPrefix(info.GoVersion, "go"), Declared: "BSD-3-Clause",
			ExternalRefs: []reference{
				{"PACKAGE-MANAGER", "purl", "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")},
			},
		}
		linked := []string{"std"}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			linked = append(linked, m.Path)
			modules[m.Path] = bundled{
				Name: m.Path, Version: m.Version, Declared: noAssertion, Comment: "go.sum: " + m.Sum,
				ExternalRefs: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + m.Version}},
			}
		}
		for _, path := range linked {
			d.Relationships = append(d.Relationships, relationship{id, "DEPENDS_ON", spdxID("module", path)})
		}
	}
	folders, err := moduleFolders()
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		m := modules[path]
		m.ID = spdxID("module", path)
		m.Location = noAssertion
		m.Copyright = noAssertion
		if folder := folders[path]; folder != "" {
			m.Declared = licenseIn(folder)
		}
		m.Concluded = m.Declared
		d.Packages = append(d.Packages, m)
	}
	text, err := json.MarshalIndent(d, "", " ")
	return append(text, '\n'), err
}

// spdxID makes an identifier of letters, digits, dots and hyphens.
func spdxID(kind, name string) string {
	return "SPDXRef-" + kind + "-" + notInID.ReplaceAllString(name, "-")
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// moduleFolders asks the go command where the sources of the modules are.
func moduleFolders() (map[string]string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Path}}\t{{.Dir}}", "all").Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m all: %w", err)
	}
	folders := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		folders[path] = dir
	}
	return folders, nil
}

// licenses has a sentence of each license that is recognized, with its name in SPDX.
var licenses = []struct{ sentence, name string }{
	{"Apache License Version 2.0", "Apache-2.0"},
	{"Licensed under the Apache License, Version 2.0", "Apache-2.0"},
	{"Mozilla Public License Version 2.0", "MPL-2.0"},
	{"to any person obtaining a copy of this software and associated documentation files", "MIT"},
	{"may be used to endorse or promote products derived from", "BSD-3-Clause"},
	{"Redistributions in binary form must reproduce the above copyright notice", "BSD-2-Clause"},
	{"SIL OPEN FONT LICENSE Version 1.1", "OFL-1.1"},
	{"Creative Commons Attribution 4.0 International Public License", "CC-BY-4.0"},
	{"distributed under the Simplified BSD License", "BSD-2-Clause"},
	{"The FreeType License, which is similar to the original BSD license", "FTL OR GPL-2.0-or-later"},
	{"Permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"},
}

// licensesIn recognizes the licenses in a text: several if parts of a module have their own.
func licensesIn(text string) []string {
	text = strings.Join(strings.Fields(text), " ")
	var names []string
	for _, l := range licenses {
		if strings.Contains(text, l.sentence) && !slices.Contains(names, l.name) {
			names = append(names, l.name)
		}
	}
	if slices.Contains(names, "BSD-3-Clause") { // which holds the clauses of the other
		names = slices.DeleteFunc(names, func(n string) bool { return n == "BSD-2-Clause" })
	}
	return names
}

// licenseIn returns the license of a module, by the texts of its license files, as an
// expression of SPDX.
func licenseIn(folder string) string {
	var texts strings.Builder
	for _, pattern := range []string{"LICENSE*", "LICENCE*", "COPYING*", "License*", "license*"} {
		paths, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			continue
		}
		for _, path := range paths {
			if data, err := os.ReadFile(path); err == nil {
				texts.Write(data)
				texts.WriteByte('\n')
			}
		}
	}
	return cmp.Or(strings.Join(licensesIn(texts.String()), " AND "), noAssertion)
}
