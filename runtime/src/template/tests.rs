use proptest::prelude::*;
use serde_json::json;

use super::*;

fn data() -> Data {
    let fields = json!({
        "ID": "abc",
        "Name": "/web",
        "Number": 42,
        "Half": 0.5,
        "Yes": true,
        "No": false,
        "Empty": "",
        "None": null,
        "List": ["x", "y", "z"],
        "Mixed": [1, "a", null, [2]],
        "State": {"Status": "running", "Pid": 7},
        "Config": {"Labels": {"a.b": "1", "c": "2"}, "Env": ["A=1", "B=2"]},
        "Networks": {"bridge": {"IPAddress": "10.5.2.7"}, "none": {"IPAddress": ""}},
        "PidsLimit": null,
        "Ports": null,
    });
    Data { fields, labels: Labels::Of([("tier".to_owned(), "front".to_owned())].into()) }
}

#[track_caller]
fn check(template: &str, want: &str) {
    let parsed = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    match parsed.render(&data()) {
        Ok(got) => assert_eq!(got, want, "{template}"),
        Err(error) => panic!("{template}: {error}"),
    }
}

#[track_caller]
fn refuses(template: &str, want: &str) {
    let got = Template::parse(template).and_then(|parsed| parsed.render(&data()));
    match got {
        Ok(got) => panic!("{template}: {got}"),
        Err(error) => assert!(error.to_string().contains(want), "{template}: {error}"),
    }
}

#[test]
fn texts_and_fields() {
    check("", "");
    check("plain", "plain");
    check("{{.ID}}", "abc");
    check("{{ .ID }}:{{.Name}}", "abc:/web");
    check("{{.State.Status}}", "running");
    check("{{.Number}} {{.Half}} {{.Yes}}", "42 0.5 true");
    check("{{.List}}", "[x y z]");
    check("{{.Mixed}}", "[1 a [] [2]]");
    check("{{.State}}", "map[Pid:7 Status:running]");
    check("{{.PidsLimit}}", "<nil>");
    check("{{.Ports}}", "map[]");
    check("{{.None}}", "[]");
    check("}} and }", "}} and }");
    check("{{`raw {{`}}", "raw {{");
    check("{{\"a\\tb\\\"\"}}", "a\tb\"");
    check("{{.Config.Labels.c}}", "2");
    check("{{.Config.Labels.nosuch}}", "<no value>");
    check("{{.Networks.nosuch.IPAddress}}", "<no value>");
    check("{{(index .Networks \"bridge\").IPAddress}}", "10.5.2.7");
    check("{{.Label \"tier\"}}{{$.Label \"tier\"}}{{.Label \"nosuch\"}}", "frontfront");
    check("{{.State.Health}}", "<nil>");
}

#[test]
fn blanks_are_trimmed_where_it_says_so() {
    check("a {{- .ID -}} b", "aabcb");
    check("a {{- \"x\"}} b", "ax b");
    check("a \n {{- .ID }}\n", "aabc\n");
    check("{{/* nothing */}}x", "x");
    check("a {{- /* nothing */ -}} b", "ab");
    check("{{-3}}", "-3");
}

#[test]
fn conditions() {
    check("{{if .Yes}}a{{else}}b{{end}}", "a");
    check("{{if .No}}a{{else}}b{{end}}", "b");
    check("{{if .No}}a{{else if .Yes}}b{{else}}c{{end}}", "b");
    check("{{if .No}}a{{else if .No}}b{{else}}c{{end}}", "c");
    for empty in [".No", ".Empty", ".None", "0", "0.0", "nil", ".State.Health"] {
        check(&format!("{{{{if {empty}}}}}a{{{{else}}}}b{{{{end}}}}"), "b");
    }
    check("{{with .State}}{{.Pid}}{{end}}", "7");
    check("{{with .None}}{{.Pid}}{{else}}none{{end}}", "none");
    check("{{with $s := .State}}{{$s.Pid}}{{$.ID}}{{end}}", "7abc");
    check("{{if and .Yes (eq .Number 42)}}a{{end}}", "a");
    check("{{if or .No .Empty \"x\"}}a{{end}}", "a");
    check("{{or .Empty \"x\"}}{{and .Yes \"y\"}}{{not .Yes}}", "xyfalse");
    check("{{or .Yes .Nosuch}}", "true");
}

#[test]
fn loops() {
    check("{{range .List}}{{.}},{{end}}", "x,y,z,");
    check("{{range $i, $x := .List}}{{$i}}{{$x}} {{end}}", "0x 1y 2z ");
    check("{{range $x := .List}}{{$x}}{{end}}", "xyz");
    check("{{range $k, $v := .Networks}}{{$k}}={{$v.IPAddress}};{{end}}", "bridge=10.5.2.7;none=;");
    check("{{range .Networks}}{{.IPAddress}}{{end}}", "10.5.2.7");
    check("{{range .None}}x{{else}}nothing{{end}}", "nothing");
    check("{{range .List}}{{if eq . \"y\"}}{{break}}{{end}}{{.}}{{end}}", "x");
    check("{{range .List}}{{if eq . \"y\"}}{{continue}}{{end}}{{.}}{{end}}", "xz");
    check("{{range 3}}{{.}}{{end}}", "012");
    check("{{$n := 1}}{{range .List}}{{$n = .}}{{end}}{{$n}}", "z");
    check("{{range .List}}{{range $.Config.Env}}{{.}}{{end}}{{end}}", "A=1B=2A=1B=2A=1B=2");
}

#[test]
fn functions_of_go() {
    check("{{len .List}}{{len .ID}}{{len .None}}", "330");
    check("{{index .List 1}}", "y");
    check("{{index .Config.Labels \"a.b\"}}", "1");
    check("[{{index .Config.Labels \"nosuch\"}}]", "[]");
    check("{{index .Mixed 3 0}}", "2");
    check("{{slice .ID 1}}{{slice .ID 0 1}}", "bca");
    check("{{eq .ID \"x\" \"abc\"}}{{ne .ID \"x\"}}", "truetrue");
    check("{{lt 1 2}}{{le 2 2}}{{gt 1 2}}{{ge 2 3}}{{lt \"a\" \"b\"}}", "truetruefalsefalsetrue");
    check("{{print 1 2 \"a\" \"b\" 3}}", "1 2a b3".replace("a b", "ab").as_str());
    check("{{println .ID 1}}", "abc 1\n");
    check("{{printf \"%s-%d-%v\" .ID .Number .List}}", "abc-42-[x y z]");
    check(
        "{{printf \"%5s|%-5s|%05d|%x|%q\" \"a\" \"b\" 42 255 \"c\"}}",
        "    a|b    |00042|ff|\"c\"",
    );
    check("{{printf \"%.2f %6.1f %t %%\" .Half 1.25 .Yes}}", "0.50    1.2 true %");
    check(
        "{{printf \"%d\" .ID}}{{printf \"%s\"}}{{printf \"x\" 1}}",
        "%!d(string=abc)%!s(MISSING)x%!(EXTRA int=1)",
    );
    check("{{.Number | printf \"%d!\"}}", "42!");
}

#[test]
fn functions_of_docker() {
    check("{{json .State}}", r#"{"Status":"running","Pid":7}"#);
    check("{{json .None}}{{json .ID}}", "null\"abc\"");
    check("{{.List | json}}", r#"["x","y","z"]"#);
    check("{{join .List \", \"}}", "x, y, z");
    check("{{join .None \",\"}}", "");
    check("{{split \"a:b\" \":\"}}{{index (split \"a:b\" \":\") 1}}", "[a b]b");
    check("{{upper .ID}}{{lower \"ABC\"}}{{title \"hello big world\"}}", "ABCabcHello Big World");
    check("[{{pad .ID 1 2}}][{{pad .Empty 1 2}}]", "[ abc  ][]");
    check("{{truncate .ID 2}}", "ab");
    check("{{.ID | upper | printf \"%s!\"}}", "ABC!");
}

#[test]
fn what_cannot_be_understood() {
    refuses("{{", "unclosed action");
    refuses("{{.ID", "unclosed action");
    refuses("a\nb{{.ID", "template: :2: unclosed action");
    refuses("{{}}", "missing value for command");
    refuses("{{.ID | }}", "missing value for command");
    refuses("{{nosuch .ID}}", "function \"nosuch\" not defined");
    refuses("{{$x}}", "undefined variable \"$x\"");
    refuses("{{$x = 1}}", "undefined variable \"$x\"");
    refuses("{{if .Yes}}{{$x := 1}}{{end}}{{$x}}", "undefined variable");
    refuses("{{if .Yes}}", "unexpected EOF");
    refuses("{{end}}", "unexpected {{end}}");
    refuses("{{else}}", "unexpected {{else}}");
    refuses("{{if .Yes}}{{else}}{{else}}{{end}}", "unexpected {{else}}");
    refuses("{{(.ID}}", "unclosed left paren");
    refuses("{{.ID)}}", "unexpected )");
    refuses("{{\"a}}", "unterminated quoted string");
    refuses("{{`a}}", "unterminated quoted string");
    refuses("{{1x}}", "bad number syntax");
    refuses("{{/* a}}", "unclosed comment");
    refuses("{{#}}", "unexpected");
    refuses("{{define \"x\"}}{{end}}", "not supported");
    refuses(&"{{if 1}}".repeat(100), "too deeply");
    refuses(&format!("{{{{{}", "(".repeat(100)), "unclosed action");
    refuses(&format!("{{{{{}}}}}", "(".repeat(100)), "too deeply");
}

#[test]
fn what_cannot_be_applied() {
    refuses("{{.Nosuch}}", "executing \"\" at <.Nosuch>: map has no entry for key \"Nosuch\"");
    refuses("x{{.State.Nosuch}}", "template: :1:3: executing \"\" at <.State.Nosuch>");
    refuses("{{.ID.x}}", "can't evaluate field x in type string");
    refuses("{{.State.Health.Status}}", "can't evaluate field Status in type nil");
    refuses("{{.ID \"x\"}}", "can't give argument to non-function .ID");
    refuses("{{range .ID}}{{end}}", "range can't iterate over abc");
    refuses("{{index .List 9}}", "index out of range: 9");
    refuses("{{index .List \"a\"}}", "error calling index: wrong type slice");
    refuses("{{len}}", "wrong number of args for len");
    refuses("{{eq 1}}", "wrong number of args for eq");
    refuses("{{lt 1 \"a\"}}", "incompatible types");
    refuses("{{upper 1}}", "error calling upper: wrong type int");
    refuses("{{slice .ID 9}}", "out of range");
    refuses("{{range 99999999}}{{end}}", "more than");
    refuses("{{range 1000}}{{range 1000}}{{range 1000}}{{end}}{{end}}{{end}}", "more than");
    let doubled =
        format!("{{{{$x := \"0123456789\"}}}}{}", "{{$x = print $x $x $x $x}}".repeat(30));
    refuses(&doubled, "more than");
}

proptest! {
    /// Whatever is typed: an answer or a reason, never a panic, never for ever.
    #[test]
    fn any_text_is_answered(text in "[{}().|$=:,\"`a-z0-9 .\\-\n%]{0,60}") {
        if let Ok(template) = Template::parse(&text) {
            drop(template.render(&data()));
        }
    }

    #[test]
    fn any_row_of_words_is_answered(words in proptest::collection::vec(
        prop::sample::select(vec![
            "{{", "}}", "{{if ", "{{range ", "{{with ", "{{else}}", "{{end}}", "{{else if ", ".ID", ".",
            ".List", ".State", "$", "$x", ":=", "=", "|", "(", ")", "printf", "index", "json", "len",
            "\"%5d %s\"", "1", "-2", "3.5", "true", "nil", " ", ",", "- }}", "{{- ", "text", "slice",
            "{{break}}", "{{continue}}", "and", "or", "not", "eq", "lt", ".Label", "pad", "split",
        ]), 0..25,
    )) {
        if let Ok(template) = Template::parse(&words.concat()) {
            drop(template.render(&data()));
        }
    }
}
