//! Tables: what parses, how it prints, where errors are; and that nothing panics.

use obs_model::limits::Limits;
use obs_model::{MatchOp, Matcher};
use proptest::prelude::*;

use super::ast::*;
use super::{parse, parse_matchers, pretty};

/// Parses and prints.
#[track_caller]
fn check(text: &str, expect: &str) {
    let limits = Limits::default();
    match parse(text, &limits) {
        Ok(expr) => {
            let printed = expr.to_string();
            assert_eq!(printed, expect, "{text}");
            assert_eq!(parse(&printed, &limits), Ok(expr), "{text}");
        }
        Err(error) => assert_eq!(error.to_string(), expect, "{text}"),
    }
}

#[track_caller]
fn same(text: &str) {
    check(text, text);
}

/// A syntax error at a column of the first line.
#[track_caller]
fn syntax(text: &str, column: usize, expect: &str) {
    check(
        text,
        &format!("parse error at line 1, col {column}: syntax error: unexpected {expect}"),
    );
}

/// An error without a place.
#[track_caller]
fn refused(text: &str, expect: &str) {
    check(text, &format!("parse error : {expect}"));
}

#[test]
fn selectors() {
    same(r#"{app="x"}"#);
    same(r#"{app="x", b!="y", c=~"z.+", d!~"w"}"#);
    check(" {  app = `a\"b` } # comment", r#"{app="a\"b"}"#);
    check(
        "# first\n{a=\"b\"} // second\n/* third */ |= `c` #",
        r#"{a="b"} |= "c""#,
    );
    check("(({app=\"x\"}))", r#"{app="x"}"#);
    same(r#"{rate="a", sum="b", variants="c", of="d", ip="e", bytes="f", vector="g"}"#);
    syntax("{", 2, "$end, expecting IDENTIFIER or }");
    syntax("{app}", 5, "}, expecting = or =~ or !~ or !=");
    syntax("{app=x}", 6, "IDENTIFIER, expecting STRING");
    syntax("{app=5}", 6, "NUMBER, expecting STRING");
    syntax(r#"{app="x",}"#, 10, "}, expecting IDENTIFIER");
    syntax(r#"{app="x""#, 9, "$end, expecting } or ,");
    syntax(r#"{app="x" b="y"}"#, 10, "IDENTIFIER, expecting } or ,");
    syntax(r#"{by="x"}"#, 2, "by, expecting IDENTIFIER or }");
    syntax(r#"{JSON="x"}"#, 2, "json, expecting IDENTIFIER or }");
    syntax(r#"{app="x"} }"#, 11, "}");
    syntax(r#"{app="x"} "y""#, 11, "STRING");
    syntax("{app=\"x\"} ; ", 11, "IDENTIFIER");
    syntax("app", 1, "IDENTIFIER");
    check("", "parse error : syntax error: unexpected $end");
    check(
        "\n\n  {app=\"x\"} |= 5",
        "parse error at line 3, col 16: syntax error: unexpected NUMBER, expecting STRING or ip",
    );
    check(
        "{ü=\"x\", é}",
        "parse error at line 1, col 10: syntax error: unexpected }, expecting = or =~ or !~ or !=",
    );
    let at = |column: usize, text: &str| format!("parse error at line 1, col {column}: {text}");
    check("{app=\"x", &at(6, "literal not terminated"));
    check("{app=`x", &at(6, "literal not terminated"));
    check("{app='xy'}", &at(6, "invalid char literal"));
    check(r#"{app="\q"}"#, &at(6, "invalid char escape"));
    check("{a=\"b\"} /* c", &at(9, "comment not terminated"));
    // A fault behind what is wrong already does not count.
    syntax("{app} \"", 5, "}, expecting = or =~ or !~ or !=");
    refused(
        r#"{app=~"("}"#,
        "error parsing regexp: missing closing ): `(`",
    );
    refused(
        r#"{app=~"*"}"#,
        "error parsing regexp: missing argument to repetition operator: `*`",
    );
}

const EMPTY: &str = "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";

#[test]
fn selectors_that_select_everything_are_refused() {
    for text in [
        "{}",
        "{} |= `x`",
        r#"{app=""}"#,
        r#"{app=~".*"}"#,
        r#"{app!="x"}"#,
        r#"{app!~"x"}"#,
        r#"sum(rate({app=~".*"}[5m]))"#,
        r#"rate({a="b"}[5m]) + rate({}[5m])"#,
    ] {
        refused(text, EMPTY);
    }
    same(r#"{app=~".+"}"#);
    same(r#"{app!=""}"#);
    same(r#"{app="", b="c"}"#);
    let limits = Limits::default();
    let matchers = |text: &str| parse_matchers(text, &limits).map_err(|e| e.to_string());
    assert_eq!(matchers("{a=\"b\"}"), Ok(vec![Matcher::equal("a", "b")]));
    assert_eq!(matchers("{}"), Err(format!("parse error : {EMPTY}")));
    for text in [
        "{a=\"b\"} | json",
        "{a=\"b\"} |= `x`",
        "rate({a=\"b\"}[1m])",
    ] {
        let told = Err("only label matchers are supported".to_owned());
        assert_eq!(matchers(text), told, "{text}");
    }
}

#[test]
fn line_filters() {
    same(r#"{a="b"} |= "x" != "y" |~ "z" !~ "w""#);
    same(r#"{a="b"} |= "x" or "y" or "z""#);
    same(r#"{a="b"} |> "<_> x" !> "y <_>""#);
    same(r#"{a="b"} |= ip("10.0.0.0/8") or "x" or ip("::1")"#);
    check(
        r#"{a="b"} != "x" or "y" |= "z""#,
        r#"{a="b"} != "x" != "y" |= "z""#,
    );
    // What is wrong with an expression is said when it is to run.
    same(r#"{a="b"} |~ ip("1.2.3.4")"#);
    same(r#"{a="b"} |= ip("x")"#);
    same(r#"{a="b"} |~ "(""#);
    same(r#"{a="b"} |> "<x>""#);
    syntax(r#"{a="b"} |= "x" or"#, 18, "$end, expecting STRING or ip");
    syntax(r#"{a="b"} |= ip("#, 15, "$end, expecting STRING");
    syntax(
        r#"{a="b"} |= ip "x""#,
        12,
        "IDENTIFIER, expecting STRING or ip",
    );
    syntax(r#"{a="b"} |= ip("x""#, 18, "$end, expecting )");
    syntax(r#"{a="b"} |="#, 11, "$end, expecting STRING or ip");
    check(
        r#"{a="b"} |= |= "x""#,
        "parse error at line 0, col 12: syntax error: unexpected |=, expecting STRING or ip",
    );
}

#[test]
fn stages() {
    same(r#"{a="b"} | json"#);
    check(
        r#"{a="b"} | json x, y="a.b[0]""#,
        r#"{a="b"} | json x="x",y="a.b[0]""#,
    );
    same(r#"{a="b"} | logfmt --strict --keep-empty x="x",y="z""#);
    check(
        r#"{a="b"} | logfmt --keep-empty --strict --strict"#,
        r#"{a="b"} | logfmt --strict --keep-empty"#,
    );
    same(r#"{a="b"} | regexp "(?P<x>.)" | pattern "<x> <_>" | unpack"#);
    same(r#"{a="b"} | line_format "{{.x}}" | label_format x=y,z="{{.w}}" | decolorize"#);
    same(r#"{a="b"} | drop x,y="z" | keep v,w=~"u""#);
    check(
        "{a=\"b\"} | JSON |= \"x\" | Line_Format `y`",
        "{a=\"b\"} | json |= \"x\" | line_format \"y\"",
    );
    // What is wrong with these is said when they are to run.
    same(r#"{a="b"} | json x="a..b""#);
    same(r#"{a="b"} | label_format x=y,x=z"#);
    same(r#"{a="b"} | line_format "{{""#);
    refused(
        r#"{a="b"} | regexp "x""#,
        "invalid regexp parser: at least one named capture must be supplied",
    );
    refused(
        r#"{a="b"} | regexp "(?P<x>""#,
        "invalid regexp parser: error parsing regexp: missing closing ): `(?P<x>`",
    );
    refused(
        r#"{a="b"} | pattern "<a><b>""#,
        "invalid pattern parser: found consecutive capture '<a><b>': invalid expression",
    );
    refused(
        r#"{a="b"} | pattern "<_>""#,
        "invalid pattern parser: at least one capture is required",
    );
    refused(
        r#"{a="b"} | pattern "<a> <a>""#,
        "invalid pattern parser: duplicate capture name (a): invalid expression",
    );
    syntax(r#"{a="b"} | unwrap x"#, 11, "unwrap");
    syntax(r#"{a="b"} | "#, 11, "$end");
    syntax(r#"{a="b"} | regexp x"#, 18, "IDENTIFIER, expecting STRING");
    syntax(r#"{a="b"} | pattern"#, 18, "$end, expecting STRING");
    syntax(r#"{a="b"} | line_format 5"#, 23, "NUMBER, expecting STRING");
    syntax(
        r#"{a="b"} | label_format"#,
        23,
        "$end, expecting IDENTIFIER",
    );
    syntax(r#"{a="b"} | label_format x"#, 25, "$end, expecting =");
    syntax(
        r#"{a="b"} | label_format x=5"#,
        26,
        "NUMBER, expecting IDENTIFIER or STRING",
    );
    syntax(
        r#"{a="b"} | label_format x=y,"#,
        28,
        "$end, expecting IDENTIFIER",
    );
    syntax(r#"{a="b"} | json x="#, 18, "$end, expecting STRING");
    syntax(r#"{a="b"} | drop"#, 15, "$end, expecting IDENTIFIER");
    syntax(r#"{a="b"} | keep x,"#, 18, "$end, expecting IDENTIFIER");
    syntax(r#"{a="b"} | logfmt --strict=1"#, 26, "=");
    check(
        r#"{a="b"} | json --strict"#,
        "parse error at line 0, col 16: syntax error: unexpected FUNCTION_FLAG",
    );
}

#[test]
fn label_filters() {
    same(r#"{a="b"} | x="y" | rate="z" | ip="1""#);
    same(r#"{a="b"} | x==5 | x!=5 | x>=0.5 | x<=1 | x<-2.5"#);
    check(r#"{a="b"} | x=5 | y > +2"#, r#"{a="b"} | x==5 | y>2"#);
    check(
        r#"{a="b"} | d >= 1h30m | e < 1500us | f == 14d | g > 1.5h | h != -5m"#,
        r#"{a="b"} | d>=1h30m0s | e<1.5ms | f==336h0m0s | g>1h30m0s | h!=-5m0s"#,
    );
    check(
        r#"{a="b"} | size > 1.5KiB | size < 20MB | size == 2kB | size > 5k"#,
        r#"{a="b"} | size>1536B | size<20MB | size==2.0kB | size>5.0kB"#,
    );
    same(r#"{a="b"} | addr=ip("10.0.0.0/8") | addr!=ip("::1")"#);
    // `and` binds tighter than `or`; commas and spaces take all that follows.
    check(
        r#"{a="b"} | x="1" or y="2" and z="3""#,
        r#"{a="b"} | ( x="1" or ( y="2" , z="3" ) )"#,
    );
    check(
        r#"{a="b"} | x="1" and y="2" or z="3""#,
        r#"{a="b"} | ( ( x="1" , y="2" ) or z="3" )"#,
    );
    check(
        r#"{a="b"} | x="1" and y="2" and z="3""#,
        r#"{a="b"} | ( ( x="1" , y="2" ) , z="3" )"#,
    );
    check(
        r#"{a="b"} | x="1", y="2" or z="3""#,
        r#"{a="b"} | ( x="1" , ( y="2" or z="3" ) )"#,
    );
    check(
        r#"{a="b"} | x="1" y="2" z="3""#,
        r#"{a="b"} | ( x="1" , ( y="2" , z="3" ) )"#,
    );
    check(
        r#"{a="b"} | x="1" and (y="2" or z="3")"#,
        r#"{a="b"} | ( x="1" , ( y="2" or z="3" ) )"#,
    );
    check(
        r#"{a="b"} | logfmt | x > 5 (y = 1)"#,
        r#"{a="b"} | logfmt | ( x>5 , y==1 )"#,
    );
    syntax(r#"{a="b"} | x == "y""#, 16, "STRING");
    syntax(r#"{a="b"} | x > "y""#, 15, "STRING");
    syntax(r#"{a="b"} | x"#, 12, "$end");
    syntax(r#"{a="b"} | x =~ 5"#, 16, "NUMBER, expecting STRING");
    syntax(r#"{a="b"} | x > -"#, 16, "$end, expecting NUMBER");
    syntax(r#"{a="b"} | (x="1""#, 17, "$end");
    syntax(r#"{a="b"} | ()"#, 12, "), expecting IDENTIFIER or (");
    syntax(
        r#"{a="b"} | x="1" and"#,
        20,
        "$end, expecting IDENTIFIER or (",
    );
    syntax(r#"{a="b"} | x =~ ip("1")"#, 16, "ip, expecting STRING");
    // Small letters are no size: this is 5 m and a name.
    syntax(r#"{a="b"} | x > 5mb"#, 18, "$end");
    refused(
        r#"{a="b"} | x > 0x1A"#,
        "unable to parse literal as a float: strconv.ParseFloat: parsing \"0x1A\": invalid syntax",
    );
    check(r#"{a="b"} | x > 0x1p3"#, r#"{a="b"} | x>8"#);
}

/// Every place that the range, the offset and unwrap may have.
#[test]
fn ranges_stand_in_many_places() {
    let stages = |unwrap: bool| match unwrap {
        true => r#"sum_over_time({a="b"} | json | unwrap x[5m] offset 1m0s)"#,
        false => r#"count_over_time({a="b"} |= "x"[5m] offset 1m0s)"#,
    };
    for text in [
        r#"({a="b"} |= "x" [5m] offset 1m)"#,
        r#"({a="b"} [5m] offset 1m |= "x")"#,
        r#"(({a="b"} |= "x")[5m] offset 1m)"#,
        r#"(({a="b"} |= "x" [5m] offset 1m))"#,
        r#"((({a="b"} [5m] offset 1m |= "x")))"#,
    ] {
        check(&format!("count_over_time{text}"), stages(false));
    }
    for text in [
        r#"({a="b"} | json | unwrap x [5m] offset 1m)"#,
        r#"({a="b"} [5m] offset 1m | json | unwrap x)"#,
        r#"(({a="b"} | json | unwrap x)[5m] offset 1m)"#,
        r#"(({a="b"} [5m] offset 1m | json | unwrap x))"#,
    ] {
        check(&format!("sum_over_time{text}"), stages(true));
    }
    for (text, offset) in [
        (r#"({a="b"}[5m])"#, ""),
        (r#"({a="b"}[5m] offset 1m)"#, " offset 1m0s"),
        (r#"(({a="b"})[5m])"#, ""),
        (r#"(({a="b"})[5m] offset 1m)"#, " offset 1m0s"),
    ] {
        let expect = format!(r#"rate({{a="b"}}[5m]{offset})"#);
        check(&format!("rate{text}"), &expect);
    }
    for (text, offset) in [
        (r#"({a="b"}[5m] | unwrap x)"#, ""),
        (r#"({a="b"}[5m] offset 1m | unwrap x)"#, " offset 1m0s"),
        (r#"(({a="b"})[5m] | unwrap x)"#, ""),
        (r#"(({a="b"})[5m] offset 1m | unwrap x)"#, " offset 1m0s"),
        (r#"({a="b"} | unwrap x [5m])"#, ""),
        (r#"({a="b"} | unwrap x [5m] offset 1m)"#, " offset 1m0s"),
        (r#"(({a="b"} | unwrap x)[5m])"#, ""),
        (r#"(({a="b"} | unwrap x)[5m] offset 1m)"#, " offset 1m0s"),
    ] {
        let expect = format!(r#"rate({{a="b"}} | unwrap x[5m]{offset})"#);
        check(&format!("rate{text}"), &expect);
    }
}

#[test]
fn range_aggregations() {
    same(r#"rate({a="b"}[5m])"#);
    check(
        r#"RATE ({a="b"}[1y2w3d4h5m6s7ms])"#,
        r#"rate({a="b"}[382d4h5m6s7ms])"#,
    );
    same(r#"count_over_time({a="b"}[5m] offset -1h0m0s)"#);
    same(
        r#"quantile_over_time(0.99,{a="b"} | logfmt | unwrap duration_seconds(x) | __error__="" | y>5[5m]) by (c,d)"#,
    );
    same(r#"max_over_time({a="b"} | unwrap bytes(x)[5m]) without (c)"#);
    same(r#"rate({a="b"} | unwrap duration(x)[5m])"#);
    same(r#"absent_over_time({a="b"}[5m])"#);
}

#[test]
fn faults_of_range_aggregations() {
    for op in [
        "sum", "avg", "min", "max", "stddev", "stdvar", "first", "last",
    ] {
        refused(
            &format!(r#"{op}_over_time({{a="b"}}[5m])"#),
            &format!("invalid aggregation {op}_over_time without unwrap"),
        );
    }
    refused(
        r#"rate_counter({a="b"}[5m])"#,
        "invalid aggregation rate_counter without unwrap",
    );
    for op in ["count_over_time", "bytes_over_time", "bytes_rate"] {
        refused(
            &format!(r#"{op}({{a="b"}} | unwrap x [5m])"#),
            &format!("invalid aggregation {op} with unwrap"),
        );
    }
    for op in ["rate", "count_over_time", "bytes_rate", "absent_over_time"] {
        refused(
            &format!(r#"{op}({{a="b"}}[5m]) by (c)"#),
            &format!("grouping not allowed for {op} aggregation"),
        );
    }
    refused(
        r#"sum_over_time({a="b"} | unwrap x [5m]) by (c)"#,
        "grouping not allowed for sum_over_time aggregation",
    );
    refused(
        r#"rate(0.5, {a="b"}[5m])"#,
        "parameter 0.5 not supported for operation rate",
    );
    refused(
        r#"quantile_over_time({a="b"} | unwrap x [5m])"#,
        "parameter required for operation quantile_over_time",
    );
}

#[test]
fn form_of_range_aggregations() {
    syntax(r#"rate({a="b"})"#, 13, ")");
    syntax(r#"rate({a="b"} | unwrap x)"#, 24, "), expecting RANGE or |");
    syntax(
        r#"rate({a="b"} | unwrap)"#,
        22,
        "), expecting IDENTIFIER or BYTES_CONV or DURATION_CONV or DURATION_SECONDS_CONV",
    );
    syntax(r#"rate({a="b"}[5m] offset)"#, 24, "), expecting DURATION");
    syntax(r#"rate({a="b"}[5m]"#, 17, "$end, expecting )");
    syntax("rate()", 6, "), expecting NUMBER or { or (");
    syntax("rate(5)", 7, "), expecting ,");
    syntax("rate by (a) (x)", 6, "by, expecting (");
    syntax(
        r#"quantile_over_time(-1, {a="b"}[5m])"#,
        20,
        "-, expecting NUMBER or { or (",
    );
    let at = |column: usize, text: &str| format!("parse error at line 0, col {column}: {text}");
    check(
        r#"rate({a="b"}[5])"#,
        &at(13, "not a valid duration string: \"5\""),
    );
    check(r#"rate({a="b"}[])"#, &at(13, "empty duration string"));
    check(
        r#"rate({a="b"}[1.5h])"#,
        &at(13, "unknown unit \".\" in duration \"1.5h\""),
    );
    check(
        r#"rate({a="b"}[5x])"#,
        &at(13, "unknown unit \"x\" in duration \"5x\""),
    );
    check(
        r#"rate({a="b"}[1m1h])"#,
        &at(13, "not a valid duration string: \"1m1h\""),
    );
    check(r#"rate({a="b"}[999y])"#, &at(13, "duration out of range"));
    check(
        r#"rate({a="b"}[5m"#,
        &at(13, "missing closing ']' in duration"),
    );
    check(r#"{a="b"}[5m]"#, &at(8, "syntax error: unexpected RANGE"));
    check(
        r#"min({a="b"}[5m])"#,
        &at(12, "syntax error: unexpected RANGE"),
    );
}

#[test]
fn metric_expressions() {
    check(
        "vector(1)+vector(1)",
        "(vector(1.000000) + vector(1.000000))",
    );
    same("1");
    // Numbers are put together, and a sign belongs to its number.
    check("-2 ^ 2", "4");
    check("1 + 2 * 3 ^ 2 - 6", "13");
    check("2 ^ 3 ^ 2", "512");
    check("1 > bool 2", "0");
    check("1e21 * 10", "1e+22");
    check("1 / 8", "0.125");
    check(
        "vector(1) + 2 * vector(3) ^ 4 - 6",
        "((vector(1.000000) + (2 * (vector(3.000000) ^ 4))) - 6)",
    );
    check(
        "vector(1) or vector(2) and vector(3) unless vector(4) > 5",
        "(vector(1.000000) or ((vector(2.000000) and vector(3.000000)) unless (vector(4.000000) > 5)))",
    );
    check(
        r#"sum(rate({a="b"}[5m])) by (c) > bool 5"#,
        r#"(sum by (c)(rate({a="b"}[5m])) > bool 5)"#,
    );
    check(
        r#"topk(3, rate({a="b"}[5m])) without (c, d)"#,
        r#"topk without (c,d)(3,rate({a="b"}[5m]))"#,
    );
    check("sum by () (vector(1))", "sum(vector(1.000000))");
    same(r#"sum without ()(rate({a="b"}[5m]))"#);
    for op in [
        "avg",
        "count",
        "min",
        "max",
        "stddev",
        "stdvar",
        "sort",
        "sort_desc",
    ] {
        same(&format!(r#"{op}(rate({{a="b"}}[5m]))"#));
    }
    same(r#"approx_topk(3,rate({a="b"}[5m]))"#);
    same(r#"(rate({a="b"}[5m]) / on (c) group_left (d) rate({a="b"}[1h]))"#);
    check(
        r#"rate({a="b"}[5m]) / ignoring (c) group_right () rate({a="b"}[1h])"#,
        r#"(rate({a="b"}[5m]) / ignoring (c) group_right rate({a="b"}[1h]))"#,
    );
    check(
        r#"rate({a="b"}[5m]) == bool on (c) rate({a="b"}[1h])"#,
        r#"(rate({a="b"}[5m]) == bool on (c)  rate({a="b"}[1h]))"#,
    );
    check(
        r#"vector(1) / on (c) group_left (vector(2))"#,
        "(vector(1.000000) / on (c) group_left vector(2.000000))",
    );
    same(r#"label_replace(rate({a="b"}[5m]),"x","$1","y","(.*)")"#);
    same("sum(1)");
}

#[test]
fn faults_of_metric_expressions() {
    refused("topk(1.2, vector(1))", "invalid parameter topk(1.2,");
    refused(
        "topk(0, vector(1))",
        "invalid parameter (must be greater than 0) topk(0",
    );
    refused(
        "bottomk(vector(1))",
        "parameter required for operation bottomk",
    );
    refused(
        "sum(2, vector(1))",
        "unsupported parameter for operation sum(2,",
    );
    refused(
        "sort(vector(1)) by (a)",
        "sort and sort_desc doesn't allow grouping by ",
    );
    refused(
        "approx_topk(1, vector(1)) by (a)",
        "grouping not allowed for approx_topk aggregation",
    );
    refused(
        "1 and vector(1)",
        "unexpected literal for left leg of logical/set binary operation (and): 1.000000",
    );
    refused(
        "vector(1) or 2",
        "unexpected literal for right leg of logical/set binary operation (or): 2.000000",
    );
    refused(
        r#"{a="b"} or vector(1)"#,
        "unexpected type for left leg of binary operation (or): *syntax.MatchersExpr",
    );
    refused(
        r#"vector(1) + ({a="b"} | json)"#,
        "unexpected type for right leg of binary operation (+): *syntax.PipelineExpr",
    );
    refused(
        r#"label_replace(vector(1),"a","b","c","(")"#,
        "invalid regex in label_replace: error parsing regexp: missing closing ): `(`",
    );
    refused(
        "vector(0x1A)",
        "unable to parse vectorExpr as a float: strconv.ParseFloat: parsing \"0x1A\": invalid syntax",
    );
    // The outermost fault is told, and a text of the wrong form before any of them.
    refused(
        r#"topk(0, sum(1, rate({}[5m])))"#,
        "invalid parameter (must be greater than 0) topk(0",
    );
    syntax(r#"topk(0, rate({}[5m])) )"#, 23, ")");
    syntax("-vector(1)", 2, "VECTOR, expecting NUMBER");
    syntax("vector(-1)", 8, "-, expecting NUMBER");
    syntax("vector()", 8, "), expecting NUMBER");
    syntax("quantile(1, vector(1))", 1, "IDENTIFIER");
    syntax(r#"sum({a="b"})"#, 12, ")");
    syntax("sum by (vector(1))", 9, "VECTOR, expecting IDENTIFIER or )");
    syntax(
        "sum by (a b) (vector(1))",
        11,
        "IDENTIFIER, expecting , or )",
    );
    syntax("sum by (a,) (vector(1))", 11, "), expecting IDENTIFIER");
    syntax("sum(vector(1)", 14, "$end");
    syntax("vector(1) +", 12, "$end");
    syntax("label_replace(vector(1))", 24, ")");
    syntax(
        r#"label_replace(vector(1), "a" "b")"#,
        30,
        "STRING, expecting ,",
    );
    syntax("bytes(x)", 1, "BYTES_CONV");
    syntax("sum @ 5", 1, "IDENTIFIER");
}

#[test]
fn layout() {
    #[track_caller]
    fn check(text: &str, expect: &str) {
        let limits = Limits::default();
        let found = pretty(text, &limits).unwrap();
        assert_eq!(found, expect);
        assert_eq!(
            parse(&found, &limits).map(|e| e.to_string()),
            parse(text, &limits).map(|e| e.to_string()),
            "{found}"
        );
    }
    check(r#"{a="b"}|json|x=5"#, r#"{a="b"} | json | x==5"#);
    check(
        r#"{job="loki", instance="localhost"}|logfmt|level="error" |= "a text that is long" != "another text that is long" | line_format "{{.x}}""#,
        r#"{job="loki", instance="localhost"}
  | logfmt
  | level="error"
  |= "a text that is long" != "another text that is long"
  | line_format "{{.x}}""#,
    );
    check(
        r#"sum by(a,b)(rate({job="loki", namespace="loki-prod", container="nginx-ingress"}|logfmt|level="error"[5m] offset 1h))"#,
        r#"sum by (a, b)(
  rate(
    {job="loki", namespace="loki-prod", container="nginx-ingress"} | logfmt | level="error" [5m] offset 1h
  )
)"#,
    );
    check(
        r#"quantile_over_time(0.99, {job="loki", namespace="loki-prod"}|json|unwrap duration(latency)|__error__=""[1m]) by (path)"#,
        r#"quantile_over_time(
  0.99,
  {job="loki", namespace="loki-prod"} | json
    | unwrap duration(latency)
    | __error__="" [1m]
) by (path)"#,
    );
    check(
        r#"topk(10, sum by (a) (rate({job="loki"}[5m]))) / on (cluster, namespace) group_left (c) sum by (cluster) (rate({job="other"}[5m]))"#,
        r#"  topk(10,sum by (a)(rate({job="loki"}[5m])))
/ on (cluster, namespace) group_left (c)
  sum by (cluster)(rate({job="other"}[5m]))"#,
    );
    check(
        r#"label_replace(rate({job="api-server",service="a:c",namespace="production"} |= "err" [5m]), "foo", "$1", "service", "(.*):.*")"#,
        r#"label_replace(
  rate({job="api-server", service="a:c", namespace="production"} |= "err"[5m]),
  "foo",
  "$1",
  "service",
  "(.*):.*"
)"#,
    );
    let error = pretty("{", &Limits::default()).unwrap_err().to_string();
    assert!(error.starts_with("parse error at line 1, col 2"), "{error}");
}

#[test]
fn bounds() {
    let limits = Limits::default();
    let error = |text: &str| parse(text, &limits).unwrap_err().to_string();
    let deep = format!("{}1{}", "(".repeat(1000), ")".repeat(1000));
    assert!(error(&deep).contains("64 levels of nesting"));
    let filters = format!("{{a=\"b\"}} | {}x=1{}", "(".repeat(1000), ")".repeat(1000));
    assert!(error(&filters).contains("nesting"));
    let listed = format!("{{a=\"b\"}} | {}x=1", "x=1, ".repeat(1000));
    assert!(error(&listed).contains("nesting"));
    let ranges = format!("rate({}{{a=\"b\"}}[5m]{})", "(".repeat(20), ")".repeat(20));
    assert!(parse(&ranges, &limits).is_ok());
    let long = vec!["vector(1)"; 1000].join("+");
    assert!(error(&long).contains("256 operators"));
    // Chains inside parentheses: the tree is as deep as all of them together.
    let mut nested = "vector(1)".to_owned();
    for _ in 0..30 {
        nested = format!("({nested}{})", "+1".repeat(100));
    }
    assert!(error(&nested).contains("256 operators"));
    let wide = vec!["sum(vector(1)) * 2 > 3"; 200].join(" or ");
    assert!(parse(&wide, &limits).is_ok());
    // Each part is laid out once, however deep it stands.
    assert!(pretty(&wide, &limits).unwrap().lines().count() > 400);
    let large = format!("{{a=\"{}\"}}", "x".repeat(131_072));
    assert_eq!(
        error(&large),
        "parse error : input size too long (131078 > 131072)"
    );
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("app"),
        Just("rate"),
        Just("x_1"),
        Just("duration"),
        Just("__error__")
    ]
    .prop_map(str::to_owned)
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    (name(), op, "[a-z\"\\n ]{1,4}")
        .prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
}

fn comparison() -> impl Strategy<Value = Comparison> {
    prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Greater),
        Just(Comparison::LessEqual)
    ]
}

fn label_filter() -> impl Strategy<Value = LabelFilter> {
    let leaf =
        prop_oneof![
            matcher().prop_map(LabelFilter::Matcher),
            (name(), comparison(), -1e6..1e6f64)
                .prop_map(|(name, op, value)| LabelFilter::Number { name, op, value }),
            (name(), comparison(), any::<i32>()).prop_map(|(name, op, n)| LabelFilter::Duration {
                name,
                op,
                nanos: i64::from(n) * 1000
            }),
            (name(), comparison(), 0u64..1 << 40)
                .prop_map(|(name, op, bytes)| LabelFilter::Bytes { name, op, bytes }),
        ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2).prop_map(LabelFilter::And),
            proptest::collection::vec(inner, 2).prop_map(LabelFilter::Or),
        ]
    })
}

fn stage() -> impl Strategy<Value = Stage> {
    let text = ".{0,6}";
    let choice = prop_oneof![
        name().prop_map(LabelChoice::Name),
        matcher().prop_map(LabelChoice::Matcher)
    ];
    let choices = proptest::collection::vec(choice, 1..3);
    let fields = || {
        proptest::collection::vec(
            (name(), "[a-z]{1,3}").prop_map(|(label, path)| Extraction { label, path }),
            0..3,
        )
    };
    prop_oneof![
        proptest::collection::vec(text, 1..3).prop_map(|texts| Stage::Line(LineFilter {
            op: LineOp::Contains,
            alternatives: texts.into_iter().map(LineMatch::Text).collect(),
        })),
        fields().prop_map(Stage::Json),
        (any::<bool>(), any::<bool>(), fields()).prop_map(|(strict, keep_empty, fields)| {
            Stage::Logfmt {
                strict,
                keep_empty,
                fields,
            }
        }),
        label_filter().prop_map(Stage::Filter),
        text.prop_map(Stage::LineFormat),
        choices.clone().prop_map(Stage::Drop),
        choices.prop_map(Stage::Keep),
        Just(Stage::Decolorize),
        Just(Stage::Unpack),
    ]
}

fn logs() -> impl Strategy<Value = LogExpr> {
    (
        proptest::collection::vec(matcher(), 0..2),
        proptest::collection::vec(stage(), 0..4),
    )
        .prop_map(|(mut matchers, stages)| {
            matchers.push(Matcher::equal("job", "x"));
            LogExpr { matchers, stages }
        })
}

fn metric() -> impl Strategy<Value = MetricExpr> {
    let range = (logs(), 1i64..1 << 40, any::<i32>(), any::<bool>()).prop_map(
        |(logs, range, offset, unwrapped)| MetricExpr::Range {
            op: if unwrapped {
                RangeOp::Quantile
            } else {
                RangeOp::Rate
            },
            parameter: unwrapped.then_some(0.5),
            logs: LogRange {
                logs,
                unwrap: unwrapped.then(|| Unwrap {
                    label: "x".into(),
                    conversion: Conversion::Bytes,
                    filters: Vec::new(),
                }),
                // Ranges are written in milliseconds.
                range: range * 1_000_000,
                offset: i64::from(offset),
            },
            grouping: unwrapped.then(|| Grouping {
                without: true,
                labels: vec!["a".into()],
            }),
        },
    );
    let leaf = prop_oneof![range, (0.0..1e9f64).prop_map(MetricExpr::Literal)];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|(expr, k)| MetricExpr::Vector {
                op: if k { VectorOp::Topk } else { VectorOp::Sum },
                parameter: k.then_some(7),
                expr: Box::new(expr),
                grouping: Some(Grouping {
                    without: k,
                    labels: vec!["a".into(), "b".into()]
                }),
            }),
            (inner.clone(), inner, comparison(), any::<bool>()).prop_map(
                |(left, right, op, grouped)| MetricExpr::Binary {
                    op: BinaryOp::Compare(op),
                    left: Box::new(left),
                    right: Box::new(right),
                    matching: Matching {
                        return_bool: grouped,
                        labels: grouped.then(|| (false, vec!["a".into()])),
                        group: grouped.then(|| (Side::Left, vec!["b".into()])),
                    },
                }
            ),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prints_and_parses_logs(logs in logs()) {
        let expr = Expr::Logs(logs);
        let limits = Limits::default();
        let laid_out = pretty(&expr.to_string(), &limits).unwrap();
        prop_assert_eq!(parse(&laid_out, &limits), Ok(expr.clone()));
        prop_assert_eq!(parse(&expr.to_string(), &limits), Ok(expr));
    }

    #[test]
    fn prints_and_parses_metrics(metric in metric()) {
        let expr = Expr::Metric(metric);
        prop_assert_eq!(parse(&expr.to_string(), &Limits::default()), Ok(expr));
    }

    #[test]
    fn arbitrary_text_never_panics(
        text in ".{0,60}",
        near in "(\\{a=\"b\"\\}|rate|sum|by|json|unwrap|or|and|[|=!~<>(){}\\[\\]\",`.0-9a-z -]){0,30}",
    ) {
        for text in [text, near] {
            if let Ok(expr) = parse(&text, &Limits::default()) {
                // Numbers may be put together to what cannot be written.
                if ["NaN", "Inf"].iter().any(|word| expr.to_string().contains(word)) {
                    continue;
                }
                prop_assert_eq!(parse(&expr.to_string(), &Limits::default()), Ok(expr));
            }
        }
    }
}
