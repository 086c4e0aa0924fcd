package snapkv

import (
	"os"
	"strings"
	"testing"
)

// TestMethodsPage: the tables of docs/METHODS.md list every method in the order of Methods,
// with its source and what it reads, and say of each but full and oracle, which kvpress
// cannot have, how it compares with kvpress.
func TestMethodsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/METHODS.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := tableRows(t, string(page), "| method | ranks by |")
	if len(rows) != len(Methods) {
		t.Fatalf("%d rows, want %d", len(rows), len(Methods))
	}
	for i, m := range Methods {
		row := rows[i]
		source, _, _ := strings.Cut(row[4], ",")
		if row[0] != m.Name || source != m.Source || row[3] != readBy(&m) {
			t.Errorf("row %d is about %s, which reads %s, from %s; want %s, %s, %s",
				i, row[0], row[3], source, m.Name, readBy(&m), m.Source)
		}
	}
	at := 0
	for _, row := range tableRows(t, string(page), "| method | equal to kvpress |") {
		for at < len(Methods) && (Methods[at].Needs.Generated || Methods[at].IgnoresCapacity) {
			at++
		}
		if at == len(Methods) || row[0] != Methods[at].Name {
			t.Fatalf("the comparison with kvpress names %s in place %d", row[0], at)
		}
		at++
	}
	for ; at < len(Methods); at++ {
		if m := &Methods[at]; !m.Needs.Generated && !m.IgnoresCapacity {
			t.Errorf("the comparison with kvpress lacks %s", m.Name)
		}
	}
}

// tableRows returns the cells of a table of a page, without its head.
func tableRows(t *testing.T, page, head string) [][]string {
	t.Helper()
	_, rest, ok := strings.Cut(page, head)
	if !ok {
		t.Fatalf("no table %q", head)
	}
	rest, _, _ = strings.Cut(rest, "\n\n")
	var rows [][]string
	for _, line := range strings.Split(rest, "\n")[2:] {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// readBy returns the words of the page for what a method reads.
func readBy(m *Method) string {
	n := m.Needs
	var list []string
	for _, part := range []struct {
		needed bool
		name   string
	}{
		{n.Rows, "rows"},
		{n.Sums, "sums"},
		{n.AllQueries, "all queries"},
		{n.Queries && !n.AllQueries, "queries"},
		{n.Keys, "keys"},
		{n.Values, "values"},
		{n.Generated, "the reply"},
	} {
		if part.needed {
			list = append(list, part.name)
		}
	}
	if list == nil {
		return "nothing"
	}
	return strings.Join(list, ", ")
}
