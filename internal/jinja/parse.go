package jinja

import "slices"

// parser builds the tree of a template.
type parser struct {
	tokens []token
	at     int
	line   int // of the current token, for errors
	depth  int // of tags and expressions in each other
	loops  int // for loops around the current tag, within its macro

	// In a condition and its branches, filters and tests that do not exist fail only when
	// they are reached, but not in the loops and macros of a branch. Elsewhere they are
	// errors of the template, which are kept here until it is known what is a condition.
	soft    bool
	unknown []*Error

	// For each macro around the current tag, the names that its body reads.
	reads []map[string]bool
}

func (p *parser) current() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if p.at < len(p.tokens)-1 {
		p.at++
		p.line = p.tokens[p.at].line
	}
	return t
}

// look is the token after the current one.
func (p *parser) look() token { return p.tokens[min(p.at+1, len(p.tokens)-1)] }

func (p *parser) skip(k kind, text string) bool {
	if p.current().is(k, text) {
		p.next()
		return true
	}
	return false
}

// want removes a name or an operator.
func (p *parser) want(k kind, text string) {
	if !p.skip(k, text) {
		fail("expected '%s', got '%s'", text, p.current())
	}
}

// wantKind removes a token of a kind.
func (p *parser) wantKind(k kind) token {
	if p.current().kind != k {
		fail("expected %s, got '%s'", map[kind]string{
			name: "a name", blockEnd: "'%}'", variableEnd: "'}}'",
		}[k], p.current())
	}
	return p.next()
}

// deeper guards against tags and expressions in each other without end.
func (p *parser) deeper() func() {
	p.depth++
	if p.depth > maxNesting {
		fail("more than %d tags and brackets in each other", maxNesting)
	}
	return func() { p.depth-- }
}

// body parses up to one of the tags that end it, whose name is the next token then, or up
// to the end of the template if there are none.
func (p *parser) body(ends []string) []node {
	defer p.deeper()()
	var body []node
	for {
		switch t := p.current(); t.kind {
		case endOfTemplate:
			if ends != nil {
				fail("unexpected end of the template, which lacks one of the tags %q", ends)
			}
			return body
		case data:
			p.next()
			body = append(body, &textNode{t.text})
		case variableBegin:
			p.next()
			e := p.tuple(tupleRule{conditions: true})
			p.wantKind(variableEnd)
			body = append(body, &outputNode{t.line, e})
		case blockBegin:
			p.next()
			if p.current().kind == name && slices.Contains(ends, p.current().text) {
				return body
			}
			body = append(body, p.statement())
			p.wantKind(blockEnd)
		default:
			fail("unexpected '%s'", t)
		}
	}
}

// block parses the rest of a tag and its body. It removes the name of the tag that ends it.
func (p *parser) block(ends ...string) ([]node, string) {
	p.skip(operator, ":")
	p.wantKind(blockEnd)
	body := p.body(ends)
	return body, p.next().text
}

// statement parses a tag, without its end.
func (p *parser) statement() node {
	t := p.wantKind(name)
	switch t.text {
	case "if":
		return p.parseIf()
	case "for":
		return p.parseFor(t.line)
	case "set":
		return p.parseSet(t.line)
	case "macro":
		return p.parseMacro()
	case "call":
		return p.parseCall(t.line)
	case "filter":
		return p.parseFilterBlock(t.line)
	case "with":
		return p.parseWith(t.line)
	case "print":
		list := &bodyNode{}
		for p.current().kind != blockEnd {
			if list.body != nil {
				p.want(operator, ",")
			}
			list.body = append(list.body, &outputNode{t.line, p.expression(true)})
		}
		return list
	case "break", "continue":
		if p.loops == 0 {
			fail("%s outside of a loop", t.text)
		}
		if t.text == "break" {
			return &jumpNode{breaks}
		}
		return &jumpNode{continues}
	case "generation":
		// The reference makes a macro of the body and calls it at once.
		loops := p.loops
		p.loops = 0
		defer p.hard()()
		body, _ := p.block("endgeneration")
		p.loops = loops
		return &scopeNode{body: body}
	case "block", "extends", "include", "import", "from", "autoescape":
		fail("the tag '%s' is not supported: a chat template is a single file", t.text)
	}
	fail("unknown tag '%s'", t.text)
	return nil
}

// hard begins a body with a scope of its own. The function that it returns ends it.
func (p *parser) hard() func() {
	soft := p.soft
	p.soft = false
	return func() { p.soft = soft }
}

func (p *parser) parseIf() node {
	n := &ifNode{}
	for {
		soft := p.soft
		p.soft = true
		condition := p.tuple(tupleRule{})
		body, end := p.block("elif", "else", "endif")
		n.branches = append(n.branches, branch{condition, body})
		if end == "else" {
			n.otherwise, end = p.block("endif")
		}
		p.soft = soft
		if end == "endif" {
			return n
		}
	}
}

func (p *parser) parseFor(line int) node {
	n := &forNode{line: line}
	n.target = p.target(tupleRule{end: "in"})
	if hasName(n.target, "loop") {
		fail("can't assign to special loop variable in for-loop target")
	}
	p.want(name, "in")
	n.items = p.tuple(tupleRule{end: "recursive"})
	defer p.hard()()
	if p.skip(name, "if") {
		n.condition = p.expression(true)
	}
	n.recursive = p.skip(name, "recursive")
	p.loops++
	body, end := p.block("endfor", "else")
	n.body = body
	p.loops--
	if end == "else" {
		n.otherwise, _ = p.block("endfor")
	}
	return n
}

func (p *parser) parseSet(line int) node {
	target := p.target(tupleRule{namespaces: true})
	if p.skip(operator, "=") {
		return &setNode{line, target, p.tuple(tupleRule{conditions: true})}
	}
	defer p.hard()()
	n := &setBlockNode{line: line, target: target}
	n.filter = p.filters(nil)
	n.body, _ = p.block("endset")
	return n
}

func (p *parser) parseWith(line int) node {
	n := &withNode{line: line}
	for p.current().kind != blockEnd {
		if n.targets != nil {
			p.want(operator, ",")
		}
		n.targets = append(n.targets, p.target(tupleRule{}))
		p.want(operator, "=")
		n.values = append(n.values, p.expression(true))
	}
	defer p.hard()()
	n.body, _ = p.block("endwith")
	return n
}

func (p *parser) parseMacro() node {
	m := &macroNode{name: p.wantKind(name).text}
	p.signature(m)
	p.macroBody(m, "endmacro")
	return m
}

func (p *parser) parseCall(line int) node {
	n := &callNode{line: line, caller: &macroNode{name: "caller"}}
	if p.current().is(operator, "(") {
		p.signature(n.caller)
	}
	call, ok := p.expression(true).(*callExpr)
	if !ok {
		fail("expected a call")
	}
	n.call = call
	p.macroBody(n.caller, "endcall")
	return n
}

// signature parses the parameters of a macro.
func (p *parser) signature(m *macroNode) {
	p.want(operator, "(")
	for !p.current().is(operator, ")") {
		if len(m.parameters) > 0 {
			p.want(operator, ",")
		}
		m.parameters = append(m.parameters, p.wantKind(name).text)
		var value expr
		switch {
		case p.skip(operator, "="):
			value = p.expression(true)
		case len(m.defaults) > 0 && m.defaults[len(m.defaults)-1] != nil:
			fail("non-default argument follows default argument")
		}
		m.defaults = append(m.defaults, value)
	}
	p.want(operator, ")")
}

// macroBody parses the body of a macro and notes which special names it reads.
func (p *parser) macroBody(m *macroNode, end string) {
	reads := map[string]bool{}
	p.reads = append(p.reads, reads)
	loops := p.loops
	p.loops = 0
	defer p.hard()()
	m.body, _ = p.block(end)
	p.loops = loops
	p.reads = p.reads[:len(p.reads)-1]
	m.caller = reads["caller"] && !slices.Contains(m.parameters, "caller")
	m.kwargs = reads["kwargs"] && !slices.Contains(m.parameters, "kwargs")
	m.varargs = reads["varargs"] && !slices.Contains(m.parameters, "varargs")
}

func (p *parser) parseFilterBlock(line int) node {
	defer p.hard()()
	n := &filterNode{line: line}
	n.filter = p.filters(p.filter(nil))
	n.body, _ = p.block("endfilter")
	return n
}

// tupleRule says where a list of expressions without brackets ends and what is in it.
type tupleRule struct {
	conditions bool   // x if y else z
	end        string // a name that ends it
	brackets   bool   // it may be empty
	targets    bool   // only names
	namespaces bool   // and attributes of namespaces
}

// target parses what a value is assigned to.
func (p *parser) target(r tupleRule) expr {
	line := p.line
	r.targets = true
	e := p.tuple(r)
	if !assignable(e) {
		p.line = line
		fail("can't assign to this expression")
	}
	return e
}

// assignable reports whether a value can be assigned to e.
func assignable(e expr) bool {
	switch e := e.(type) {
	case *nameExpr, *attributeTarget:
		return true
	case *tupleExpr:
		return !slices.ContainsFunc(e.items, func(e expr) bool { return !assignable(e) })
	}
	return false
}

// hasName reports whether a target assigns to a name.
func hasName(e expr, name string) bool {
	switch e := e.(type) {
	case *nameExpr:
		return e.name == name
	case *tupleExpr:
		return slices.ContainsFunc(e.items, func(e expr) bool { return hasName(e, name) })
	}
	return false
}

// tuple parses one expression, or several with commas, which are a tuple.
func (p *parser) tuple(r tupleRule) expr {
	var items []expr
	isTuple := false
	for {
		if len(items) > 0 {
			p.want(operator, ",")
		}
		t := p.current()
		if t.kind == variableEnd || t.kind == blockEnd || t.is(operator, ")") || r.end != "" && t.is(name, r.end) {
			break
		}
		if r.targets {
			items = append(items, p.primary(r))
		} else {
			items = append(items, p.expression(r.conditions))
		}
		if !p.current().is(operator, ",") {
			break
		}
		isTuple = true
	}
	if !isTuple {
		if len(items) > 0 {
			return items[0]
		}
		if !r.brackets {
			fail("expected an expression, got '%s'", p.current())
		}
	}
	return &tupleExpr{items}
}

func (p *parser) expression(conditions bool) expr {
	defer p.deeper()()
	if !conditions {
		return p.or()
	}
	line := p.line
	unknown := len(p.unknown)
	soft := p.soft
	e := p.or()
	for p.skip(name, "if") {
		p.unknown = p.unknown[:unknown]
		p.soft = true
		c := &conditionExpr{line: line, yes: e}
		c.condition = p.or()
		if p.skip(name, "else") {
			c.no = p.expression(true)
		}
		p.soft = soft
		e = c
		line = p.line
	}
	return e
}

func (p *parser) or() expr {
	e := p.and()
	for p.skip(name, "or") {
		e = &orExpr{e, p.and()}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for p.skip(name, "and") {
		e = &andExpr{e, p.not()}
	}
	return e
}

func (p *parser) not() expr {
	defer p.deeper()()
	if p.skip(name, "not") {
		return &notExpr{p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	line := p.line
	first := p.sum()
	var rest []comparison
	for {
		op := ""
		switch t := p.current(); {
		case t.kind == operator && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text):
			op = t.text
		case t.is(name, "in"):
			op = "in"
		case t.is(name, "not") && p.look().is(name, "in"):
			op = "not in"
			p.next()
		}
		if op == "" {
			break
		}
		p.next()
		rest = append(rest, comparison{op, p.sum()})
	}
	if rest == nil {
		return first
	}
	return &compareExpr{line, first, rest}
}

// binary parses operators of one precedence, from left to right.
func (p *parser) binary(ops []string, operand func() expr) expr {
	e := operand()
	for {
		t := p.current()
		if t.kind != operator || !slices.Contains(ops, t.text) {
			return e
		}
		p.next()
		e = &binaryExpr{t.line, t.text, e, operand()}
	}
}

func (p *parser) sum() expr     { return p.binary([]string{"+", "-"}, p.concat) }
func (p *parser) product() expr { return p.binary([]string{"*", "/", "//", "%"}, p.power) }
func (p *parser) power() expr {
	return p.binary([]string{"**"}, func() expr { return p.unary(true) })
}

func (p *parser) concat() expr {
	items := []expr{p.product()}
	for p.skip(operator, "~") {
		items = append(items, p.product())
	}
	if len(items) == 1 {
		return items[0]
	}
	return &concatExpr{items}
}

func (p *parser) unary(filters bool) expr {
	defer p.deeper()()
	var e expr
	switch t := p.current(); {
	case t.is(operator, "-") || t.is(operator, "+"):
		p.next()
		e = &signExpr{t.line, t.text == "-", p.unary(false)}
	default:
		e = p.primary(tupleRule{})
	}
	e = p.postfix(e)
	if filters {
		e = p.filtersAndTests(e)
	}
	return e
}

// primary parses a name, a literal, or an expression in brackets.
func (p *parser) primary(r tupleRule) expr {
	t := p.next()
	switch {
	case t.kind == name:
		switch t.text {
		case "true", "True":
			return &constant{true}
		case "false", "False":
			return &constant{false}
		case "none", "None":
			return &constant{nil}
		}
		if r.namespaces && p.skip(operator, ".") {
			return &attributeTarget{t.line, t.text, p.wantKind(name).text}
		}
		if !r.targets {
			if t.text == "self" {
				fail("the variable self is not supported")
			}
			for _, reads := range p.reads {
				reads[t.text] = true
			}
		}
		return &nameExpr{t.text}
	case t.kind == text:
		s := t.text
		for p.current().kind == text {
			s += p.next().text
		}
		return &constant{s}
	case t.kind == number:
		return &constant{t.value}
	case t.is(operator, "("):
		e := p.tuple(tupleRule{conditions: true, brackets: true})
		p.want(operator, ")")
		return e
	case t.is(operator, "["):
		items := p.items("]", func() expr { return p.expression(true) })
		return &listExpr{items}
	case t.is(operator, "{"):
		d := &dictExpr{line: t.line}
		p.items("}", func() expr {
			d.keys = append(d.keys, p.expression(true))
			p.want(operator, ":")
			d.values = append(d.values, p.expression(true))
			return nil
		})
		return d
	}
	fail("unexpected '%s'", t)
	return nil
}

// items parses items with commas up to a closing bracket.
func (p *parser) items(end string, item func() expr) []expr {
	defer p.deeper()()
	var items []expr
	for !p.skip(operator, end) {
		if items != nil {
			p.want(operator, ",")
			if p.skip(operator, end) {
				break
			}
		}
		items = append(items, item())
	}
	return items
}

// postfix parses attributes, subscripts and calls.
func (p *parser) postfix(e expr) expr {
	for {
		t := p.current()
		switch {
		case t.is(operator, "."):
			p.next()
			switch a := p.next(); a.kind {
			case name:
				e = &attributeExpr{t.line, e, a.text}
			case number:
				e = &itemExpr{t.line, e, &constant{a.value}}
			default:
				fail("expected name or number, got '%s'", a)
			}
		case t.is(operator, "["):
			p.next()
			items := p.items("]", p.subscript)
			if items == nil {
				items = []expr{&tupleExpr{}}
			}
			index := items[0]
			if len(items) > 1 {
				index = &tupleExpr{items}
			}
			e = &itemExpr{t.line, e, index}
		case t.is(operator, "("):
			e = p.call(e)
		default:
			return e
		}
	}
}

// subscript parses an index or a slice.
func (p *parser) subscript() expr {
	var s sliceExpr
	ends := func() bool {
		t := p.current()
		return t.is(operator, ":") || t.is(operator, "]") || t.is(operator, ",")
	}
	if !ends() {
		e := p.expression(true)
		if !p.current().is(operator, ":") {
			return e
		}
		s.from = e
	}
	p.want(operator, ":")
	if !ends() {
		s.to = p.expression(true)
	}
	if p.skip(operator, ":") && !ends() {
		s.step = p.expression(true)
	}
	return &s
}

func (p *parser) call(e expr) expr {
	return &callExpr{p.line, e, p.arguments()}
}

// arguments parses the arguments of a call, in brackets.
func (p *parser) arguments() arguments {
	var a arguments
	p.want(operator, "(")
	p.items(")", func() expr {
		switch t := p.current(); {
		case t.is(operator, "*") && a.list == nil && a.dict == nil:
			p.next()
			a.list = p.expression(true)
		case t.is(operator, "**") && a.dict == nil:
			p.next()
			a.dict = p.expression(true)
		case t.kind == name && p.look().is(operator, "=") && a.dict == nil:
			p.next()
			p.next()
			a.names = append(a.names, t.text)
			a.named = append(a.named, p.expression(true))
		case a.list == nil && a.dict == nil && a.names == nil:
			a.values = append(a.values, p.expression(true))
		default:
			fail("invalid syntax for function call expression")
		}
		return nil
	})
	return a
}

// filtersAndTests parses filters, tests and calls after an expression.
func (p *parser) filtersAndTests(e expr) expr {
	for {
		switch t := p.current(); {
		case t.is(operator, "|"):
			p.next()
			e = p.filter(e)
		case t.is(name, "is"):
			p.next()
			e = p.test(e)
		case t.is(operator, "("):
			e = p.call(e)
		default:
			return e
		}
	}
}

// filters parses filters, each after a |.
func (p *parser) filters(e expr) expr {
	for p.skip(operator, "|") {
		e = p.filter(e)
	}
	return e
}

// dotted parses the name of a filter or a test.
func (p *parser) dotted() string {
	s := p.wantKind(name).text
	for p.skip(operator, ".") {
		s += "." + p.wantKind(name).text
	}
	return s
}

func (p *parser) filter(e expr) expr {
	line := p.line
	f := &filterExpr{line: line, value: e, name: p.dotted()}
	if _, ok := filters[f.name]; !ok && !p.soft {
		p.unknown = append(p.unknown, &Error{line, noFilter(f.name)})
	}
	if p.current().is(operator, "(") {
		f.arguments = p.arguments()
	}
	return f
}

func (p *parser) test(e expr) expr {
	line := p.line
	not := p.skip(name, "not")
	t := &testExpr{line: line, value: e, name: p.dotted()}
	if _, ok := tests[t.name]; !ok && !p.soft {
		p.unknown = append(p.unknown, &Error{line, noTest(t.name)})
	}
	switch n := p.current(); {
	case n.is(operator, "("):
		t.arguments = p.arguments()
	case n.is(name, "is"):
		fail("you cannot chain multiple tests with is")
	case n.kind == name && !slices.Contains([]string{"else", "or", "and"}, n.text),
		n.kind == text, n.kind == number, n.is(operator, "["), n.is(operator, "{"):
		t.arguments.values = []expr{p.postfix(p.primary(tupleRule{}))}
	}
	if not {
		return &notExpr{t}
	}
	return t
}
