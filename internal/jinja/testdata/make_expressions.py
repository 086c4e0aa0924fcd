# a table of expressions with what jinja2 in transformers' environment says
import datetime, json, sys
import transformers.utils.chat_template_utils as u
class Fixed(datetime.datetime):
    @classmethod
    def now(cls): return cls(2024,3,7,9,5,3,12345)
u.datetime=Fixed
from transformers.utils.chat_template_utils import _compile_jinja_template
E=r'''
{{ 1 }}|{{ 1.5 }}|{{ 1e3 }}|{{ 1e16 }}|{{ 1e-5 }}|{{ 0.1+0.2 }}|{{ 100000000000000000000 }}|{{ -0.0 }}
{{ 7//2 }}|{{ -7//2 }}|{{ 7%3 }}|{{ -7%3 }}|{{ 7%-3 }}|{{ 7/2 }}|{{ 2**10 }}|{{ 2**-1 }}|{{ 7.5//2 }}|{{ -7.5%2 }}|{{ 2**70 }}
{{ 'a' ~ 1 ~ none ~ true ~ x ~ 1.0 }}
{{ x }}|{{ x is defined }}|{{ m.nope }}|{{ m.nope is defined }}|{{ m['nope'] is undefined }}
{{ x.y }}
{{ m.nope.z }}
{{ x + 1 }}
{{ x == y }}|{{ x == none }}|{{ x in [1] }}|{{ 1 in x }}|{{ x|length }}|{{ x|list }}|{{ x is iterable }}|{{ x is sequence }}|{{ x is callable }}|{{ not x }}
{{ [1,'a',none,true,{'b':[1.0,"it's"]},('t',),()] }}
{{ "a\nb\t'\"\\\x00é\u200b\U0001f600" }}
{{ ["a\nb\t'\"\\\x00é\u200b\U0001f600"] }}
{{ {'b':1,'a':'<x>&y\'"é/'}|tojson }}|{{ {'b':1,'a':[]}|tojson(indent=2) }}|{{ {'b':{},'a':[1,2,{'c':none}]}|tojson(indent=4, sort_keys=true) }}
{{ ['é😀\x7f\x01']|tojson(ensure_ascii=true) }}|{{ {'a':[1,2]}|tojson(separators=(',',':')) }}|{{ {'a':[1,2]}|tojson(indent=0) }}|{{ {1:2,true:3,none:4,1.5:5}|tojson }}
{{ {'a':x}|tojson }}
{{ m|tojson }}|{{ m.list|tojson(indent='\t') }}|{{ 'x'|tojson }}|{{ 1.0|tojson }}|{{ 1e22|tojson }}|{{ none|tojson }}
{{ m.items() }}|{{ m.keys()|list }}|{{ m.values()|list|length }}|{{ m.get('nope') }}|{{ m.get('nope','d') }}|{{ m.get('a') }}
{{ m.update({'z':1}) }}
{{ m.list.append(1) }}
{{ m.pop('a') }}
{{ m.__class__ }}|{{ m.__class__ is defined }}
{{ m.__class__.__mro__ }}
{{ 'abc'[0] }}|{{ 'abc'[-1] }}|{{ 'abc'[9] }}|{{ 'abc'[1:] }}|{{ 'abc'[::-1] }}|{{ 'héllo'[1:3] }}|{{ [1,2,3][:-1] }}|{{ [1,2,3][5:] }}|{{ (1,2,3)[1:] }}|{{ 'abc'[-10:2] }}
{{ '  a b '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'a,b,c'.split(',') }}|{{ 'a b  c'.split() }}|{{ 'a,b,c'.split(',',1) }}|{{ 'a,b,c'.rsplit(',',1) }}|{{ 'a b c'.rsplit(none,1) }}|{{ ' a b c '.split(none,1) }}
{{ 'a</think>b</think>c'.split('</think>')[-1].lstrip('\n') }}|{{ 'abc'.startswith(('x','a')) }}|{{ 'abc'.endswith('c') }}|{{ 'abc'.find('c') }}|{{ 'héc'.find('c') }}|{{ 'aaa'.count('a') }}|{{ 'aaa'.replace('a','b',2) }}|{{ 'abc'.index('b') }}|{{ 'abcabc'.rfind('b') }}
{{ 'straße ÀÉ'.upper() }}|{{ 'ÀÉΣ'.lower() }}|{{ "they're bill's".title() }}|{{ 'hELLO wORLD'.capitalize() }}|{{ 'aB'.swapcase() }}|{{ "they're bill's-x"|title }}|{{ 'hELLO'|capitalize }}
{{ 'a\nb\r\nc\x0bd\u2028e\n'.splitlines() }}|{{ 'a\nb\n'.splitlines(true) }}|{{ 'abc'.partition('b') }}|{{ 'abc'.rpartition('x') }}|{{ 'abc'.center(8) }}|{{ 'abc'.center(7,'*') }}|{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3,'.') }}|{{ '-5'.zfill(4) }}|{{ 'a\tb'.expandtabs(4) }}
{{ 'abc'.removeprefix('a') }}|{{ 'abc'.removesuffix('c') }}|{{ '12'.isdigit() }}|{{ 'a1'.isalnum() }}|{{ 'ab'.isalpha() }}|{{ 'AB'.isupper() }}|{{ 'aB'.islower() }}|{{ ' \n'.isspace() }}|{{ ''.isspace() }}|{{ ','.join(['a','b']) }}
{{ ','.join([1,2]) }}
{{ '%s-%d-%05.2f-%x-%r-%%' % ('a', 5, 3.14159, 255, 'q') }}|{{ '%s' % 'x' }}|{{ '%(a)s' % {'a':1} }}|{{ '%-5s|' % 'ab' }}|{{ '%5s|' % 'ab' }}|{{ '%+d' % 5 }}|{{ '%e' % 12345.678 }}|{{ '%g' % 1e10 }}|{{ '%g' % 0.0001 }}|{{ '%s' % [1] }}|{{ '%s %s' % ('a',none) }}
{{ '{} {}'.format('a', 1) }}|{{ '{1} {0}'.format('a', 'b') }}|{{ '{x}'.format(x=3) }}|{{ '{:.2f}'.format(3.14159) }}|{{ '{:>5}|{:<5}|{:^5}'.format('a','b','c') }}|{{ '{:05d}'.format(42) }}|{{ '{:,}'.format(1234567) }}|{{ '{{}}'.format() }}|{{ '{0[a]}'.format({'a':5}) }}|{{ '{:x}'.format(255) }}|{{ '{!r}'.format('a') }}|{{ '{:.3}'.format('abcdef') }}|{{ '{:e}'.format(1.5) }}|{{ '{:.1%}'.format(0.256) }}
{{ '%s'|format('a') }}|{{ '%(a)s'|format(a=1) }}
{{ [3,1,2]|sort }}|{{ ['b','A','c']|sort }}|{{ ['b','A','c']|sort(case_sensitive=true) }}|{{ [{'a':2},{'a':1}]|sort(attribute='a') }}|{{ [1,2]|sort(reverse=true) }}|{{ {'b':1,'a':2}|dictsort }}|{{ {'b':1,'a':2}|dictsort(by='value', reverse=true) }}
{{ [1,2,3]|sum }}|{{ [{'a':1},{'a':2}]|sum(attribute='a') }}|{{ [1,5,2]|max }}|{{ [1,5,2]|min }}|{{ []|max }}|{{ ['a','B']|max }}|{{ [1,2]|first }}|{{ [1,2]|last }}|{{ []|first }}|{{ [1,1,2,'a','A']|unique|list }}|{{ [1,2,3,4,5]|batch(2)|list }}|{{ [1,2,3,4,5]|batch(2,'x')|list }}|{{ [1,2,3,4,5]|slice(2)|list }}|{{ [1,2,3,4,5]|slice(3,'f')|list }}
{{ [{'a':{'b':1}},{'a':{'b':2}},{'a':{}}]|map(attribute='a.b')|list }}|{{ [{'a':1},{}]|map(attribute='a', default=9)|list }}|{{ ['a','b']|map('upper')|join('-') }}|{{ [1,2,3,4]|select('odd')|list }}|{{ [1,2,3]|reject('gt',2)|list }}|{{ [{'r':'u'},{'r':'s'}]|selectattr('r','equalto','u')|list }}|{{ [{'r':'u'},{'r':0}]|rejectattr('r')|list }}|{{ [[1,2],[3]]|map('length')|list }}|{{ [0,1,none]|select|list }}
{% if [1]|select('gt',5) %}T{% else %}F{% endif %}|{{ [1]|select('odd')|length }}
{{ [{'g':'a','v':1},{'g':'B','v':2},{'g':'A','v':3}]|groupby('g') }}|{% for g, l in [{'g':1},{'g':2},{'g':1}]|groupby('g') %}{{ g }}:{{ l|length }};{% endfor %}
{{ '3'|int }}|{{ '3.7'|int }}|{{ 'x'|int }}|{{ 'x'|int(5) }}|{{ 3.9|int }}|{{ '0x1f'|int(0,16) }}|{{ none|int }}|{{ true|int }}|{{ ' 12 '|int }}|{{ '1_000'|int }}|{{ '3.5'|float }}|{{ 'a'|float }}|{{ '1e3'|float }}|{{ 3|float }}
{{ 42.55|round }}|{{ 42.55|round(1,'floor') }}|{{ 42.55|round(1) }}|{{ 2.5|round }}|{{ 3.5|round|int }}|{{ 5|round }}|{{ 2.675|round(2) }}|{{ -5|abs }}|{{ 1.5|abs }}|{{ 7.1|round(0,'ceil') }}
{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb\n\nc'|indent(2,true) }}|{{ 'a\nb\n\nc'|indent('> ',false,true) }}|{{ 'foo bar baz qux'|truncate(9) }}|{{ 'foo bar baz qux'|truncate(9,true) }}|{{ 'foo bar'|wordcount }}|{{ 'a'|center(5) }}|{{ 'aXb'|replace('X','y') }}|{{ 12|replace('1','2') }}|{{ ' a '|trim }}|{{ 'xax'|trim('x') }}|{{ 'abc'|reverse }}|{{ [1,2]|reverse|list }}|{{ 'a b/c&d'|urlencode }}|{{ {'a':'b c'}|urlencode }}
{{ '<a>'|e }}|{{ '<a>'|escape ~ '<b>' }}|{{ ('<a>'|e) + '<b>' }}|{{ '<b>' + ('<a>'|safe) }}|{{ '<a>'|safe }}|{{ '<a>'|e|upper }}|{{ '<a>'|e is string }}|{{ ('<a>'|safe)|tojson }}
{{ x|default('d') }}|{{ ''|default('d') }}|{{ ''|default('d',true) }}|{{ none|d('e') }}|{{ none|d('e',boolean=true) }}|{{ m.nope|d }}|{{ m.nope|default(none) }}
{{ 1 < 2 < 3 }}|{{ 1 < 2 > 3 }}|{{ 1 == 1.0 }}|{{ true == 1 }}|{{ 'a' < 'b' }}|{{ [1,2] < [1,3] }}|{{ none == none }}|{{ 1 != '1' }}|{{ 'a' in 'abc' }}|{{ 'a' not in {'a':1} }}|{{ 2 in (1,2) }}|{{ 1 in range(3) }}|{{ not 1 in [1] }}
{{ 1 < 'a' }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ none + 'a' }}
{{ [1] + [2] }}|{{ (1,) + (2,) }}|{{ 'a' * 3 }}|{{ [0] * 2 }}|{{ 3 * 'ab' }}|{{ 'a' * -1 }}|{{ true + 1 }}|{{ 1 if x }}|{{ 'y' if 1 else 'n' }}|{{ 1 and 0 }}|{{ '' or 'b' }}|{{ none and 1 }}|{{ -2**2 }}|{{ -3|abs }}|{{ 2 ** 3 ** 2 }}|{{ 1 + 2 ~ 3 * 4 }}
{{ 1 is odd }}|{{ 2 is even }}|{{ 4 is divisibleby 2 }}|{{ none is none }}|{{ 'a' is string }}|{{ 1 is number }}|{{ true is number }}|{{ true is integer }}|{{ 1.0 is float }}|{{ {} is mapping }}|{{ [] is sequence }}|{{ 'a' is iterable }}|{{ m.keys() is sequence }}|{{ 1 is iterable }}|{{ true is true }}|{{ 1 is true }}|{{ false is boolean }}|{{ range is callable }}|{{ 'a' is in ['a'] }}|{{ 1 is eq 1 }}|{{ 1 is not lt(0) }}|{{ 'A' is upper }}|{{ 'a' is lower }}|{{ none is sameas none }}|{{ false is sameas false }}|{{ 'tojson' is filter }}|{{ 'odd' is test }}|{{ x is not defined }}|{{ 'a' is not none }}
{{ range(3) }}|{{ range(3)|list }}|{{ range(1,7,2)|list }}|{{ range(5,0,-2)|list }}|{{ range(3)|length }}|{{ range(3)[1] }}|{{ dict(a=1) }}|{{ dict({'a':2}, b=1) }}|{{ dict([('a',1)]) }}
{% for i in [1,2,3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.cycle('a','b') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }}{{ loop.changed(i//2) }};{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}|{% for i in [1,2,3,4] if i is even %}{{ i }}{{ loop.length }}{{ loop.last }}{% endfor %}|{% for i in [1,2] %}{% continue %}{% else %}E{% endfor %}|{% for i in [1,2] %}{% break %}{% else %}E{% endfor %}|{% for k,v in {'a':1}.items() %}{{k}}{{v}}{% endfor %}|{% for c in 'hé' %}{{c}},{% endfor %}|{% for k in {'a':1} %}{{k}}{% endfor %}
{% set x=1 %}{% for i in [1,2] %}{{ x }}{% set x = x+1 %}{{ x }}{% endfor %}{{ x }}|{% if true %}{% set x=9 %}{% endif %}{{ x }}|{% with x=5, y=x %}{{x}}{{y}}{% set x=7 %}{{ x }}{% endwith %}{{ x }}
{% set ns = namespace(a=1) %}{% for i in [1,2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}|{{ ns }}|{{ ns.b is defined }}|{{ ns['a'] }}|{% set ns2 = namespace({'q':1}, w=2) %}{{ ns2.q }}{{ ns2.w }}
{% set ns = {'a':1} %}{% set ns.a = 2 %}
{% macro f(a, b=2, c='x') %}[{{a}}{{b}}{{c}}{{varargs}}{{kwargs}}]{% endmacro %}{{ f(1) }}{{ f(1,3) }}{{ f(1,c=5) }}{{ f(1,2,3,4,z=5) }}{{ f() }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1,2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}
{% macro f(a) %}<{{ caller(a) }}>{% endmacro %}{% call(x) f(3) %}{{ x }}!{% endcall %}|{% set v=1 %}{% macro g() %}{{ v }}{% endmacro %}{% set v=2 %}{{ g() }}|{{ f.name }}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(3) }}|{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}
{% for i in [[1,[2,[3]]],4] recursive %}{% if i is iterable %}({{ loop(i) }}:{{ loop.depth }}){% else %}{{ i }}{% endif %}{% endfor %}
{% set a %}  hi {{ 1 }} {% endset %}[{{ a }}]|{% set a | upper | trim %} hi {% endset %}[{{ a }}]|{% filter upper %}abc{{ 1 }}{% endfilter %}|{% set a, b = 1, 2 %}{{ a }}{{ b }}|{% set a, b = 'xy' %}{{ a }}{{ b }}
{% set a, b = [1] %}
{% for a, b in [[1,2,3]] %}{% endfor %}
{% generation %}{% set q=1 %}gen{% endgeneration %}|{{ q }}
{% raw %}{{ x }}{% endraw %}|{# c #}a{#- c -#} b {#- d #}c
{%- if true -%}   a   {%- endif -%}   b
  {% if true %}  
  a
  {% endif %}
  b {% if true %} c {% endif %} d
{{- ' x ' -}}   |   {{ 'y' }}
{%+ if true %} a{% endif +%}
b
{{ none.x }}|{{ none['x'] }}|{{ 1 .real is defined }}
{{ none() }}
{{ none[0] }}|{{ m.list[10] }}|{{ m.list.x }}|{{ m[1] }}|{{ m.list['0'] }}
{{ raise_exception('boo ' ~ 1) }}
{{ f() }}
{{ 'a' is foo }}
{{ 'a'|foo }}
{% if false %}{{ 'a'|foo }}{% endif %}ok|{{ 'a'|foo if false else 'b' }}
{% if true %}{{ 'a'|foo }}{% endif %}
{{ [1,2,3]|join(', ') }}|{{ [{'a':1}]|join('', attribute='a') }}|{{ 'abc'|join(',') }}|{{ x|join }}|{{ none|join }}
{{ cycler('a','b').next() }}|{% set j = joiner(',') %}{{ j() }}{{ j() }}|{% set c = cycler(1,2) %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}
{{ m.list.count(1) }}|{{ m.list.index(2) }}|{{ m.list.copy() }}|{{ m|length }}|{{ m|list }}|{{ m|first }}|{{ m|items|list|length }}|{{ x|items|list }}
{{ loop is defined }}|{{ messages is defined }}|{{ caller is defined }}|{{ true }}{{ True }}{{ none }}{{ None }}
{{ 'a' 'b' }}|{{ "x\
y" }}|{{ 0x1F }}|{{ 0b11 }}|{{ 1_000 }}|{{ 'a'.upper().lower() }}|{{ ('a','b')|join }}|{{ {}|length }}|{{ {'a':1,}['a'] }}|{{ [1,2,][1] }}|{{ (1) }}|{{ () }}
{{ range(100001) }}
{{ 'x' if m.a is defined and m.a else 'z' }}|{{ m.a is defined and m.a is not none }}|{{ m['a'] | string | length }}|{{ m.list is iterable and m.list is not mapping and m.list is not string }}
{% for m in [1] %}{{ m }}{% endfor %}{{ m.a }}|{% set loop_x = 1 %}{% for i in [1] %}{% for j in [1,2] %}{{ loop.index }}{% endfor %}{{ loop.last }}{% endfor %}
{{ m.float }}|{{ m.float|tojson }}|{{ m.big }}|{{ m.big|tojson }}|{{ m.float + 1 }}|{{ m.neg }}|{{ m.e }}|{{ m.e|tojson }}|{{ m.t }}|{{ m.n }}
{{ 5|string + 'a' }}|{{ 5 ~ 'a' }}|{{ [1,2]|string }}|{{ none|string }}|{{ true|string|lower }}|{{ m|string }}
{{ 'a=%s' | format('b') }}|{{ "%.2f"|format(3.14159) }}|{{ "%3d|%-3d|%03d"|format(5,5,5) }}
{% set x = [] %}{% set x = x + [1] %}{{ x }}|{% set d = dict(m, z=1) %}{{ d|length }}
{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%-d %B %y, %A %a %H:%M:%S %I %p %j %f') }}|{{ strftime_now('%e|%k|%l|%U|%W|%V|%G|%g|%u|%w|%C|%n|%t|%%') }}|{{ strftime_now('%c|%D|%F|%r|%R|%T|%x|%X|%z|%Z|%h|%P') }}|{{ strftime_now('%_d|%-m|%0e|%^a|%-j|%^B|%#p|%-I') }}|{{ strftime_now('') }}|{{ strftime_now('é %Y') }}
{{ [1,2,3] | tojson | replace('1', 'x') }}|{{ m.list|map('string')|join(',') }}|{{ ['a','b']|map('replace','a','c')|list }}
{{ "a" if "b" in m.a.split(",") else "c" }}|{{ m.a.split("x")|last }}|{{ ("abc"|list)[1] }}|{{ 'abc'|first }}|{{ 'abc'|last }}|{{ 'abc'|length }}
{{ 1.0 }}|{{ 1.0|int }}|{{ 10/5 }}|{{ 3.0 * 2 }}|{{ 1e100 }}|{{ 123456789.123456789 }}|{{ 0.00001234 }}|{{ 1/3 }}
{{ m.__init__ }}|{{ 'a'.__len__ is defined }}|{{ m|attr('a') }}|{{ m|attr('items') is callable }}|{{ 'abc'|attr('upper') is defined }}
{{ [x, 1] }}|{{ (x,)|tojson if false }}|{{ {'a': x} }}|{{ x|string|length }}|{{ x|upper }}|{{ x|trim }}|{{ [x]|join('a') }}|{{ x ~ 'b' }}|{{ x|replace('a','b') }}|{{ x|first is defined }}
{{ x|int }}
{{ x|abs }}
{{ x|indent }}
{{ x.y is defined }}
{{ x['y'] }}
{{ x() }}
{{ x > 1 }}
{{ 'a' in none }}
{{ 1 in 'abc' }}
{% for i in none %}{% endfor %}
{% for i in 5 %}{% endfor %}
{{ none|length }}
{{ 5|length }}
{{ 1 % 0 }}
{{ 'abc'.foo }}|{{ 'abc'.foo() }}
{{ m.a.foo() }}
{% break %}
{% foo %}
{% if %}{% endif %}
{{ 1 + }}
{% for x in [1] %}
{{ 'abc }}
{{ (1, 2 }}
{% include 'x' %}
{% set x = namespace(_a=1) %}
{{ ''.join(['a']*3) }}|{{ ['a','b']|join('\n') }}|{{ '\\n' }}|{{ '\u00e9\x41\101' }}
{{ {'a':1} == {'a':1.0} }}|{{ [1] == (1,) }}|{{ {'a':1}|tojson == '{"a": 1}' }}|{{ 'é'|length }}
{{ m.list[0:2]|tojson }}|{{ m.list[-1] }}|{{ m.list[::2] }}|{{ m.list[1:][0] }}|{{ messages[-1:]|length }}|{{ messages[1:]|length }}
{% set m2 = messages[0] if messages else {} %}{{ m2.role }}|{{ messages|selectattr('role','eq','user')|map(attribute='content')|first }}|{{ messages|map(attribute='role')|unique|list }}|{{ (messages|last).content }}|{{ messages|length - 1 }}|{{ messages[messages|length - 1].role }}
'''.strip('\n')
import re
variables={"messages":[{"role":"user","content":"hi é"},{"role":"assistant","content":"x"}],
 "m":{"a":"q,x,r","list":[1,2,3],"float":1.0,"big":12345678901234567890123,"neg":-3,"e":1e-7,"t":True,"n":None}}
cases=[]
blocks=[]
buf=None
for l in E.split('\n'):
    if buf is not None:
        buf+='\n'+l
        if buf.count('\n')==buf_n: blocks.append(buf); buf=None
        continue
    if l.startswith('{%- if true -%}   a') : blocks.append(l); continue
    if l=='  {% if true %}  ': buf=l; buf_n=4; continue
    if l.startswith('{%+'): buf=l; buf_n=1; continue
    if l.endswith('\\'): buf=l; buf_n=1; continue
    blocks.append(l)
for b in blocks:
    parts=[b] if ('{% set' in b or '{% macro' in b or '\n' in b) else b.split('|{{ ')
    parts=[parts[0]]+['{{ '+p for p in parts[1:]]
    for p in parts:
        try: out={"text":_compile_jinja_template(p).render(**variables)}
        except Exception as e: out={"error":f"{type(e).__name__}: {e}"}
        cases.append({"template":p,**out})
json.dump({"variables":variables,"cases":cases},open(sys.argv[1],'w'),ensure_ascii=False,indent=0)
print(len(cases))
