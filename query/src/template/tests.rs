//! Templates against what Go gives: text, values, control structures, functions, faults, bounds.

use super::*;

/// Functions of a user: `upper`, and `half` of a float.
struct Some2;

impl Functions for Some2 {
    fn knows(&self, name: &str) -> bool {
        matches!(name, "upper" | "half")
    }

    fn call(&self, name: &str, arguments: &Arguments) -> Result<Value, CallError> {
        arguments.expect(name, 1)?;
        match name {
            "upper" => Ok(arguments.text(0)?.to_uppercase().into()),
            _ => match arguments.float(0)? {
                0.0 => Err(CallError::Failed("nothing to halve".to_owned())),
                value => Ok(Value::Float(value / 2.0)),
            },
        }
    }
}

fn data() -> Value {
    Value::map([
        ("labels", Value::texts([("app", "shop"), ("pod", "shop-1")])),
        ("list", Value::list([1, 2, 3].map(Value::Int))),
        ("value", Value::Float(1234.5)),
        ("text", "a<b>".into()),
        ("empty", "".into()),
        ("null", Value::Nil),
        ("yes", Value::Bool(true)),
    ])
}

/// What a template gives, or its error.
fn render(text: &str) -> String {
    let template = Template::parse("t", text, &Some2);
    let rendered = template.and_then(|template| template.execute(&data(), &Some2));
    rendered.unwrap_or_else(|error| error.to_string())
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, expect) in cases {
        assert_eq!(render(text), *expect, "{text}");
    }
}

#[test]
fn text_and_trimming() {
    check(&[
        ("", ""),
        ("plain } }} text", "plain } }} text"),
        ("a {{- 1 -}} b", "a1b"),
        ("a {{ 1 -}} \n b", "a 1b"),
        ("a{{/* nothing */}}b", "ab"),
        ("a {{- /* nothing */ -}} b", "ab"),
        ("{{-3}}", "-3"),
        ("{{- 3}}", "3"),
        ("{{\"}}\"}}", "}}"),
        ("{{`a\\n\"`}}", "a\\n\""),
        ("{{\"a\\tb\\x41\\u00e9\\101\"}}", "a\tbAéA"),
        ("{{'a'}} {{'\\n'}}", "97 10"),
    ]);
}

#[test]
fn values_print_as_in_go() {
    check(&[
        ("{{.labels.app}}", "shop"),
        ("{{.labels.none}}|", "|"),
        ("{{.none}}", "<no value>"),
        ("{{.none.more}}", "<no value>"),
        ("{{.null}}", "<no value>"),
        ("{{print nil .none}}", "<nil> <nil>"),
        ("{{.labels}}", "map[app:shop pod:shop-1]"),
        ("{{.list}}", "[1 2 3]"),
        ("{{.value}}", "1234.5"),
        (
            "{{1e6}} {{1000000}} {{123456.0}} {{1e-5}} {{.5}}",
            "1e+06 1000000 123456 1e-05 0.5",
        ),
        (
            "{{0x1F}} {{0b11}} {{0o17}} {{1_000}} {{017}}",
            "31 3 15 1000 15",
        ),
        ("{{true}} {{.yes}}", "true true"),
        (
            "{{$}}{{with .text}}{{$.text}}{{end}}",
            &(data().printed() + "a<b>"),
        ),
    ]);
}

#[test]
fn control_structures() {
    check(&[
        ("{{if .yes}}a{{else}}b{{end}}", "a"),
        ("{{if .empty}}a{{else if .none}}b{{else}}c{{end}}", "c"),
        ("{{with .labels}}{{.pod}}{{end}}", "shop-1"),
        (
            "{{with .empty}}a{{else with .text}}{{.}}{{else}}c{{end}}",
            "a<b>",
        ),
        ("{{range .list}}<{{.}}>{{end}}", "<1><2><3>"),
        (
            "{{range $i, $x := .list}}{{$i}}={{$x}} {{end}}",
            "0=1 1=2 2=3 ",
        ),
        (
            "{{range $k, $v := .labels}}{{$k}}={{$v}} {{end}}",
            "app=shop pod=shop-1 ",
        ),
        ("{{range .none}}a{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        (
            "{{range .list}}{{if eq . 2}}{{continue}}{{end}}{{.}}{{end}}",
            "13",
        ),
        (
            "{{range .list}}{{if eq . 2}}{{break}}{{end}}{{.}}{{end}}",
            "1",
        ),
        ("{{$x := 1}}{{range .list}}{{$x = .}}{{end}}{{$x}}", "3"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        (
            "{{define \"d\"}}[{{.}}]{{end}}{{template \"d\" .text}}{{template \"d\"}}",
            "[a<b>][<no value>]",
        ),
        ("{{block \"b\" .list}}{{len .}}{{end}}", "3"),
    ]);
}

#[test]
fn pipelines_and_functions() {
    check(&[
        ("{{.text | upper | printf \"%s-%s\" \"x\"}}", "x-A<B>"),
        ("{{upper (print \"a\" 1 2 \"b\")}}", "A1 2B"),
        (
            "{{half 3}} {{half 3.0}} {{.value | half}}",
            "1.5 1.5 617.25",
        ),
        (
            "{{(index .list 1)}} {{index .labels \"app\"}} {{index .labels \"no\"}}|",
            "2 shop |",
        ),
        ("{{slice .text 1 3}} {{slice .list 1}}", "<b [2 3]"),
        ("{{len .text}} {{len .labels}}", "4 2"),
        (
            "{{eq .text \"x\" \"a<b>\"}} {{ne 1 2}} {{lt 1.5 2.5}} {{ge \"b\" \"a\"}}",
            "true true true true",
        ),
        (
            "{{and 1 0 (half 0)}} {{or 0 \"x\" (half 0)}} {{not .empty}}",
            "0 x true",
        ),
        (
            "{{html .text}} {{js \"a'<\"}} {{urlquery \"a b&\"}}",
            "a&lt;b&gt; a\\'\\u003C a+b%26",
        ),
        ("{{println 1 \"a\"}}", "1 a\n"),
        ("{{(.labels).app}} {{(print \"x\")}}", "shop x"),
    ]);
}

#[test]
fn formats() {
    check(&[
        (
            "{{printf \"%d|%5d|%-5d|%05d|%+d|%x|%X|%o|%b|%c|%U\" 42 42 42 42 42 255 255 8 5 65 65}}",
            "42|   42|42   |00042|+42|ff|FF|10|101|A|U+0041",
        ),
        (
            "{{printf \"%.2f|%8.3f|%-8.1f|%e|%g|%G\" 3.14159 3.14159 3.14159 123456.789 1e21 1e-7}}",
            "3.14|   3.142|3.1     |1.234568e+05|1e+21|1E-07",
        ),
        (
            "{{printf \"%.3g|%.10g|%g\" 1234.5678 1234.5678 100000.0}}",
            "1.23e+03|1234.5678|100000",
        ),
        (
            "{{printf \"%s|%10s|%-10s|%.2s|%q|%x|%T\" \"abc\" \"abc\" \"abc\" \"abc\" \"a\\\"b\" \"hi\" 1.5}}",
            "abc|       abc|abc       |ab|\"a\\\"b\"|6869|float64",
        ),
        (
            "{{printf \"%v %v %v %t\" .list .labels nil true}}",
            "[1 2 3] map[app:shop pod:shop-1] <nil> true",
        ),
        (
            "{{printf \"%#v\" .labels}}",
            "map[string]string{\"app\":\"shop\", \"pod\":\"shop-1\"}",
        ),
        ("{{printf \"%d %s\" \"x\" 5}}", "%!d(string=x) %!s(int=5)"),
        (
            "{{printf \"%d\"}} {{printf \"x\" 1 \"y\"}}",
            "%!d(MISSING) x%!(EXTRA int=1, string=y)",
        ),
        (
            "{{printf \"%[2]d %[1]d\" 1 2}} {{printf \"%*d|%.*f\" 4 7 1 2.55}}",
            "2 1    7|2.5",
        ),
        (
            "{{printf \"100%%\"}} {{printf \"%z\" 1}} {{printf \"%\"}}",
            "100% %!z(int=1) %!(NOVERB)",
        ),
    ]);
}

#[test]
fn faults_of_parsing_name_the_line() {
    check(&[
        ("{{.x", "template: t:1: unclosed action"),
        ("a\n{{if}}", "template: t:2: missing value for if"),
        (
            "{{nosuch}}",
            "template: t:1: function \"nosuch\" not defined",
        ),
        ("{{$x}}", "template: t:1: undefined variable \"$x\""),
        ("{{end}}", "template: t:1: unexpected {{end}}"),
        ("{{if true}}", "template: t:1: unexpected EOF"),
        ("{{\"a}}", "template: t:1: unterminated quoted string"),
        ("{{.a | }}", "template: t:1: missing value for command"),
        (
            "{{.a | .b | 3}}",
            "template: t:1: non executable command in pipeline stage 3",
        ),
        ("{{break}}", "template: t:1: {{break}} outside {{range}}"),
        ("{{(1}}", "template: t:1: unclosed left paren"),
        ("{{1 2)}}", "template: t:1: unexpected right paren"),
        (
            "{{!}}",
            "template: t:1: unrecognized character in action: U+0021 '!'",
        ),
        ("{{.a}", "template: t:1: bad character U+007D '}'"),
        ("{{1.2.3}}", "template: t:1: bad number syntax: \"1.2.3\""),
        (
            "{{true.x}}",
            "template: t:1: unexpected . after term \"true\"",
        ),
        ("{{/* a", "template: t:1: unclosed comment"),
        (
            "{{if true}}{{define \"x\"}}{{end}}{{end}}",
            "template: t:1: unexpected {{define}}",
        ),
        (
            "{{template x}}",
            "template: t:1: unexpected \"x\" in template clause",
        ),
    ]);
}

#[test]
fn faults_of_execution_name_line_and_column() {
    check(&[
        (
            "ab{{half 0}}",
            "template: t:1:4: executing \"t\" at <half>: error calling half: nothing to halve",
        ),
        (
            "a\n {{upper 1}}",
            "template: t:2:3: executing \"t\" at <upper>: wrong type for value; expected string; got int",
        ),
        (
            "{{half}}",
            "template: t:1:2: executing \"t\" at <half>: wrong number of args for half: want 1 got 0",
        ),
        (
            "{{.text.x}}",
            "template: t:1:2: executing \"t\" at <.text.x>: can't evaluate field x in type string",
        ),
        (
            "{{index .list 5}}",
            "template: t:1:2: executing \"t\" at <index>: error calling index: index out of range: 5",
        ),
        (
            "{{lt 1 1.5}}",
            "template: t:1:2: executing \"t\" at <lt>: error calling lt: incompatible types for comparison",
        ),
        (
            "{{.text 1}}",
            "template: t:1:2: executing \"t\" at <.text>: text is not a method but has arguments",
        ),
        (
            "{{nil}}",
            "template: t:1:2: executing \"t\" at <nil>: nil is not a command",
        ),
        (
            "{{template \"x\"}}",
            "template: t:1:2: executing \"t\" at <{{template \"x\"}}>: template \"x\" not defined",
        ),
        (
            "{{range .text}}{{end}}",
            "template: t:1:8: executing \"t\" at <.text>: range can't iterate over a<b>",
        ),
    ]);
}

#[test]
fn execution_is_bounded() {
    let ends = |text: &str, with: &str| {
        let error = render(text);
        assert!(
            error.contains(with),
            "{text}: {}",
            &error[..error.len().min(200)]
        );
    };
    ends("{{range 1000000000}}{{end}}", "executed more than");
    ends(
        "{{define \"r\"}}{{template \"r\" .}}{{end}}{{template \"r\" .}}",
        "exceeded maximum template depth",
    );
    ends(
        "{{range 100000}}{{printf \"%60000d\" 1}}{{end}}",
        "wrote more than",
    );
    ends(
        &("{{if 1}}".repeat(200) + &"{{end}}".repeat(200)),
        "actions in each other",
    );
    ends(
        &format!("{{{{{}1{}}}}}", "(".repeat(500), ")".repeat(500)),
        "actions in each other",
    );
    let chain = "{{if 0}}".to_owned() + &"{{else if 0}}".repeat(200) + "{{end}}";
    ends(&chain, "actions in each other");
}

#[test]
fn fields_are_listed() {
    let text =
        "{{.a.b}}{{if .c}}{{range $x := .d}}{{$x}}{{$.e}}{{(.f).g}}{{upper .h}}{{end}}{{end}}";
    let template = Template::parse("t", text, &Some2).unwrap();
    let fields = template.fields().unwrap();
    assert_eq!(fields, ["a", "c", "d", "e", "f", "h"]);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(parts in proptest::collection::vec(proptest::sample::select(vec![
        "{{", "}}", "{{-", "-}}", " ", "if", "end", "else", "range", "with", "define", "template", "\"x\"", "`",
        "'a'", ".", ".a", "$", "$x", ":=", "=", "|", "(", ")", ",", "1", "-1.5e3", "0x", "printf", "\"%d%*[3]s\"",
        "index", "slice", "é", "\n", "/*", "*/", "break", "nil", "true", "and", "len", "eq",
    ]), 0..40)) {
        let rendered = render(&parts.concat());
        proptest::prop_assert!(rendered.len() < 4 << 20);
    }
}
