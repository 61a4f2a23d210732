//! What functions, aggregations and operators compute, in the notation of the corpus.

use crate::promqltest::run;

/// Runs evaluations over series; all must pass.
fn check(text: &str) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let outcome = run(text, true, &pool.unwrap());
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
    assert!(outcome.passed > 0);
}

#[test]
fn selection() {
    check(
        r#"
load 1m
    m{a="1"} 1 2 stale _ 5
    m{a="2"} 10 20 30

eval range from 0 to 10m step 1m m
    m{a="1"} 1 2 _ _ 5 5 5 5 5
    m{a="2"} 10 20 30 30 30 30 30

eval instant at 6m m{a=~"1|3"}
    m{a="1"} 5

eval instant at 7m m{a!="1"}

eval instant at 5m m offset 4m
    m{a="1"} 2
    m{a="2"} 20

eval instant at 0 m{a="2"} offset -1m
    m{a="2"} 20

eval range from 0 to 2m step 1m m{a="2"} @ 60
    m{a="2"} 20 20 20

eval range from 0 to 2m step 1m m{a="2"} @ end()
    m{a="2"} 30 30 30

eval range from 1m to 3m step 1m timestamp(m{a="2"})
    {a="2"} 60 120 120

eval instant at 3m timestamp(m{a="2"} + 0)
    {a="2"} 180

eval instant at 3m absent(m{a="3", b=~"x", c="d"})
    {a="3", c="d"} 1

eval instant at 3m absent(m{a="2"})

eval instant at 20m absent_over_time(m{a="2"}[5m])
    {a="2"} 1

eval instant at 3m absent(sum(m{a="9"}))
    {} 1

eval instant at 3m scalar(m{a="2"}) + scalar(m{a=~".+9"})
    NaN

eval instant at 3m count_over_time(m{a="1"}[4m1s])
    {a="1"} 2

eval instant at 3m present_over_time(m[1m])
"#,
    );
}

#[test]
fn counters_and_gauges() {
    check(
        r#"
load 1m
    c_total 0 60 120 180 30 90
    g 5 3 3 NaN NaN 7

# A counter that starts at zero is not extrapolated below it.
eval instant at 3m rate(c_total[3m1s]) * 181
    {} 180

eval instant at 3m increase(c_total[2m30s])
    {} 150

eval instant at 5m increase(c_total[1m1s])
    {} 61

eval instant at 5m irate(c_total[5m])
    {} 1

eval instant at 4m irate(c_total[5m])
    {} 0.5

eval instant at 5m idelta(c_total[5m])
    {} 60

eval instant at 5m resets(c_total[6m])
    {} 1

eval instant at 5m changes(g[6m])
    {} 3

eval instant at 2m delta(g[2m])
    {} 0

eval instant at 3m deriv(c_total[4m])
    {} 1

eval instant at 3m predict_linear(c_total[4m], 60)
    {} 240

eval instant at 0 rate(c_total[5m])

eval instant at 3m rate(c_total[1m:10s])
    {} 1.2

eval instant at 5m increase(g[2m])
    expect info regex: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "g"
    {} NaN
"#,
    );
}

#[test]
fn over_time() {
    check(
        r#"
load 10s
    m 4 2 8 NaN 6 6

eval instant at 20s avg_over_time(m[30s])
    {} 4.6666666666666666

eval range from 20s to 50s step 10s max_over_time(m[20s])
    {} 8 8 6 6

eval range from 20s to 50s step 10s min_over_time(m[25s])
    {} 2 2 6 6

eval instant at 20s sum_over_time(m[1m])
    {} 14

eval instant at 20s stdvar_over_time(m[1m])
    {} 6.222222222222222

eval instant at 20s stddev_over_time(m[1m])
    {} 2.494438257849294

eval instant at 20s quantile_over_time(0.5, m[1m])
    {} 4

eval instant at 20s quantile_over_time(0.75, m[1m])
    {} 6

eval instant at 20s quantile_over_time(2, m[1m])
    expect warn msg: PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)
    {} +Inf

eval instant at 20s mad_over_time(m[1m])
    {} 2

eval instant at 50s last_over_time(m[20s])
    m 6

eval instant at 50s first_over_time(m[1m])
    m 4

eval instant at 20s ts_of_min_over_time(m[1m])
    {} 10

eval instant at 20s ts_of_max_over_time(m[1m])
    {} 20

eval instant at 20s double_exponential_smoothing(m[1m], 0.5, 0.5)
    {} 4

eval instant at 20s double_exponential_smoothing(m[1m], 2, 0.5)
    expect fail msg: invalid smoothing factor. Expected: 0 < sf < 1, got: 2.000000

clear

load 1m
    big 1e308 1e308 1e308

eval instant at 2m avg_over_time(big[5m])
    {} 1e308

eval instant at 2m sum_over_time(big[5m])
    {} +Inf
"#,
    );
}

#[test]
fn aggregations() {
    check(
        r#"
load 1m
    m{a="1", b="x"} 1
    m{a="2", b="x"} 3
    m{a="3", b="y"} 10
    m{a="4", b="y"} NaN
    big{a="1"} 1e100
    big{a="2"} 1
    big{a="3"} -1e100

eval instant at 0 sum by (b) (m)
    {b="x"} 4
    {b="y"} NaN

eval instant at 0 sum without (a) (m{b="x"})
    {b="x"} 4

eval instant at 0 sum(big)
    {} 1

eval instant at 0 avg(m{b="x"})
    {} 2

eval instant at 0 min(m)
    {} 1

eval instant at 0 max by (b) (m)
    {b="x"} 3
    {b="y"} 10

eval instant at 0 count(m) + group(m)
    {} 5

eval instant at 0 stddev(m{b="x"})
    {} 1

eval instant at 0 stdvar(m{a!="4"})
    {} 14.888888888888889

eval instant at 0 topk(2, m)
    expect ordered
    m{a="3", b="y"} 10
    m{a="2", b="x"} 3

eval instant at 0 bottomk by (b) (1, m)
    m{a="1", b="x"} 1
    m{a="3", b="y"} 10

eval instant at 0 topk(NaN, m)
    expect fail msg: Parameter value is NaN

eval instant at 0 quantile(0.5, m{a!="4"})
    {} 3

eval instant at 0 quantile by (b) (-1, m{b="x"})
    expect warn
    {b="x"} -Inf

eval instant at 0 count_values("v", m{b="x"})
    {v="1"} 1
    {v="3"} 1

eval instant at 0 count_values by (b) ("b", m{b="x"})
    {b="1"} 1
    {b="3"} 1

eval instant at 0 count_values by (b) ("b", m * 0 + 7)
    {b="7"} 3
    {b="NaN"} 1

eval instant at 0 count_values without (a) ("a", m{b="x"})
    {b="x"} 2

eval instant at 0 sort_desc(m)
    expect ordered
    m{a="3", b="y"} 10
    m{a="2", b="x"} 3
    m{a="1", b="x"} 1
    m{a="4", b="y"} NaN

eval range from 0 to 1m step 1m sort(m{a="1"})
    expect warn
    m{a="1", b="x"} 1 1

eval instant at 0 sort_by_label_desc(m, "a")
    expect ordered
    m{a="4", b="y"} NaN
    m{a="3", b="y"} 10
    m{a="2", b="x"} 3
    m{a="1", b="x"} 1

clear

load 1m
    k{a="1"} 1 5 1
    k{a="2"} 2 2 2
    k{a="3"} 3 3 _

eval range from 0 to 2m step 1m topk(1, k)
    k{a="1"} _ 5 _
    k{a="3"} 3 _ 3
"#,
    );
}

#[test]
fn binary_operators() {
    check(
        r#"
load 1m
    l{a="1", b="x"} 6
    l{a="2", b="x"} 8
    r{a="1", c="u"} 2
    r{a="2", c="v"} 0
    o{c="w"} 4

eval instant at 0 l / on (a) r
    {a="1"} 3
    {a="2"} +Inf

eval instant at 0 l + ignoring (b, c) r
    {a="1"} 8
    {a="2"} 8

eval instant at 0 l * on () group_left (c) o
    {a="1", b="x", c="w"} 24
    {a="2", b="x", c="w"} 32

eval instant at 0 o - on () group_right r
    {a="1", c="u"} 2
    {a="2", c="v"} 4

eval instant at 0 l > 7
    l{a="2", b="x"} 8

eval instant at 0 7 > bool l
    {a="1", b="x"} 1
    {a="2", b="x"} 0

eval instant at 0 7 > l
    l{a="1", b="x"} 6

eval instant at 0 l > on (a) r
    {a="1"} 6
    {a="2"} 8

eval instant at 0 l and on (a) r{c="u"}
    l{a="1", b="x"} 6

eval instant at 0 l unless on (a) r{c="u"}
    l{a="2", b="x"} 8

eval instant at 0 l{a="1"} or on (a) r
    l{a="1", b="x"} 6
    r{a="2", c="v"} 0

eval instant at 0 -l % 4
    {a="1", b="x"} -2
    {a="2", b="x"} -0

eval instant at 0 2 ^ 3 ^ 2 + 10 / 4 - 5 % 3
    512.5

eval instant at 0 1 atan2 1
    0.7853981633974483

eval instant at 0 (1 >= bool 1) + (NaN == bool NaN)
    1

eval instant at 0 o * on () l
    expect fail regex: found duplicate series for the match group \{\} on the right hand-side of the operation: .*;many-to-many matching not allowed: matching labels must be unique on one side

eval instant at 0 l * on (b) label_replace(o, "b", "x", "", "")
    expect fail msg: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)

eval instant at 0 l * on (b) group_left (a) label_replace(label_replace(o, "b", "x", "", ""), "a", "9", "", "")
    expect fail msg: multiple matches for labels: grouping labels must ensure unique matches
"#,
    );
}

#[test]
fn functions() {
    check(
        r#"
load 1m
    m{src="a-b-c", n="1"} -1.5
    m{src="x", n="2"} 2.5

eval instant at 0 abs(m)
    {src="a-b-c", n="1"} 1.5
    {src="x", n="2"} 2.5

eval instant at 0 round(m)
    {src="a-b-c", n="1"} -1
    {src="x", n="2"} 3

eval instant at 0 round(m, 5)
    {src="a-b-c", n="1"} 0
    {src="x", n="2"} 5

eval instant at 0 clamp(m, -1, 1)
    {src="a-b-c", n="1"} -1
    {src="x", n="2"} 1

eval instant at 0 clamp(m, 1, -1)

eval instant at 0 clamp_min(m, 0) + clamp_max(m, 0)
    {src="a-b-c", n="1"} -1.5
    {src="x", n="2"} 2.5

eval instant at 0 sgn(m) + ceil(m) * floor(m)
    {src="a-b-c", n="1"} 1
    {src="x", n="2"} 7

eval instant at 0 label_replace(m, "dst", "$2/${1}", "src", "(.*)-(.*)-.*")
    m{src="a-b-c", dst="b/a", n="1"} -1.5
    m{src="x", n="2"} 2.5

eval instant at 0 label_replace(m, "n", "", "", "")
    m{src="a-b-c"} -1.5
    m{src="x"} 2.5

eval instant at 0 label_join(m, "j", ":", "n", "src")
    m{src="a-b-c", n="1", j="1:a-b-c"} -1.5
    m{src="x", n="2", j="2:x"} 2.5

eval instant at 0 label_replace(m, "n", "1", "", "") or label_replace(m, "src", "", "", "(")
    expect fail regex: invalid regular expression in label_replace

eval instant at 0 vector(1) + vector(time())
    {} 1

eval instant at 1m time() + pi() - pi()
    60

eval instant at 0 hour(vector(1136239445)) * 100 + minute(vector(1136239445))
    {} 2204

eval instant at 0 year(vector(1136239445)) + month(vector(1136239445)) / 100
    {} 2006.01

eval instant at 0 day_of_week(vector(1136239445)) + day_of_month(vector(1136239445)) * 10
    {} 21

eval instant at 0 days_in_month(vector(1709208000)) + day_of_year(vector(1709208000))
    {} 89

eval instant at 0 day_of_week() + hour()
    {} 4

eval instant at 0 "text"
    expect string "text"

eval range from 0 to 2m step 1m time()
    {} 0 60 120

eval instant at 3m sum_over_time(vector(time())[2m:1m])
    {} 300

eval instant at 4m30s count_over_time(m{n="1"}[4m:1m])
    {src="a-b-c", n="1"} 4

eval instant at 0 min_of(1, 2) + max_of(3, step())
    4
"#,
    );
}

#[test]
fn classic_histograms() {
    check(
        r#"
load 1m
    h_bucket{le="0.1", i="a"} 10
    h_bucket{le="1", i="a"} 30
    h_bucket{le="+Inf", i="a"} 40
    h_bucket{le="1", i="b"} 0
    h_bucket{le="+Inf", i="b"} 0
    d_bucket{le="1"} 10
    d_bucket{le="2"} 9
    d_bucket{le="+Inf"} 20

eval instant at 0 histogram_quantile(0.5, h_bucket)
    {i="a"} 0.55
    {i="b"} NaN

eval instant at 0 histogram_quantile(0.9, sum by (le) (h_bucket))
    {} 1

eval instant at 0 histogram_quantile(0.125, h_bucket{i="a"})
    {i="a"} 0.05

eval instant at 0 histogram_quantile(-1, h_bucket{i="a"})
    expect warn
    {i="a"} -Inf

eval instant at 0 histogram_quantile(0.75, d_bucket)
    expect info regex: needed to be fixed for monotonicity
    {} 2

eval instant at 0 histogram_quantile(0.5, h_bucket{le!="+Inf"})
    {i="a"} NaN
    {i="b"} NaN

eval instant at 0 histogram_fraction(0, 1, h_bucket{i="a"})
    {i="a"} 0.75
"#,
    );
}

#[test]
fn what_prometheus_does_at_the_edges() {
    check(
        r#"
load 1m
    v{job="a", v="6", i="1"} 6
    v{job="b", v="7", i="2"} 6
    one{i="1"} 1
    one{i="2"} 1
    gaps{i="1"} 1 NaN 3
    c_total 0+60x10
    mixed 1 {{count:1 sum:1}} 3

# The label is set before series are grouped.
eval instant at 0 count_values by (job) ("job", v)
    {job="6"} 2

eval instant at 0 count_values without (i, v) ("job", v)
    {job="6"} 2

# Duplicates matter only where both sides have series.
eval instant at 0 none + on() one

eval instant at 0 v + on() one
    expect fail msg: found duplicate series for the match group {} on the right hand-side of the operation: [{__name__="one", i="1"}, {__name__="one", i="2"}];many-to-many matching not allowed: matching labels must be unique on one side

# What is filtered out has met all the same.
eval instant at 0 v > on() group_left() (9 * scalar(one{i="1"}) * one{i="1"})

eval instant at 0 v > on() (9 * one{i="1"})
    expect fail msg: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)

eval instant at 2m mad_over_time(gaps[5m])
    {i="1"} NaN

eval instant at 0 topk(NaN, none)
    expect fail msg: Parameter value is NaN

eval instant at 0 topk(1e20, v)
    expect fail msg: Scalar value 100000000000000000000 overflows int64

eval instant at 0 topk(0.5, v)

eval instant at 0 quantile(1.5, none)
    expect warn msg: PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:10)

eval instant at 0 quantile_over_time(1.5, none[5m])
    expect no_warn

eval range from 0 to 2m step 1m sort(one)
    expect warn msg: PromQL warning: sort is ineffective for range queries since results are always ordered by labels (1:1)
    one{i="1"} 1 1 1
    one{i="2"} 1 1 1

eval instant at 2m scalar(mixed)
    3

eval instant at 1m scalar(mixed)
    NaN

eval instant at 0 absent((none{a="b"}))
    {a="b"} 1

eval instant at 10m rate((c_total[10m])) + rate(v[10m])
    expect no_info

eval instant at 3m increase(((gaps[5m]))) + increase((v[5m]))
    expect info msg: PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "gaps" (1:12)

eval instant at 1m stddev((mixed))
    expect info msg: PromQL info: ignored histogram in stddev aggregation (1:9)

eval instant at 1m topk(1, (mixed))
    expect info msg: PromQL info: ignored histogram in topk aggregation (1:1)

eval instant at 1m max((mixed))
    expect info msg: PromQL info: ignored histogram in max aggregation (1:6)

eval instant at 0 label_replace(v, "x", "$1", "i", "(")
    expect fail msg: invalid regular expression in label_replace(): (

# In instant queries, step and range are nothing.
eval instant at 0 c_total[step()]
    expect fail msg: 8:14: duration must be greater than 0
"#,
    );
}

#[test]
fn wide_data_is_split_over_the_pool() {
    let mut text = "load 1m\n".to_owned();
    for series in 0..150 {
        text.push_str(&format!("    c_total{{i=\"{series}\"}} 0+{series}x200\n"));
    }
    text.push_str("\neval range from 100m to 200m step 50m sum(rate(c_total[10m]))\n");
    // 0 + 1 + … + 149 = 11,175 each minute.
    text.push_str("    {} 186.25 186.25 186.25\n");
    check(&text);
}

#[test]
fn long_chains_fit_the_stack() {
    let chain = vec!["vector(1)"; 250].join(" + ");
    check(&format!("eval instant at 0 {chain}\n    {{}} 250\n"));
    let nested = format!("{}1{}", "-(".repeat(20), ")".repeat(20));
    check(&format!("eval instant at 0 {nested}\n    1\n"));
}
