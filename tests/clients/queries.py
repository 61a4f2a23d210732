"""What is asked of obs and of Prometheus alike.

`$J` stands for the job of Prometheus' scrape of itself, `$T` for a time in the range asked.
"""

LIVE = """
up{$J}
prometheus_http_requests_total{$J}
rate(prometheus_http_requests_total{$J}[9s])
increase(prometheus_tsdb_head_samples_appended_total{$J}[9s])
irate(process_cpu_seconds_total{$J}[9s])
delta(go_goroutines{$J}[9s])
idelta(go_memstats_alloc_bytes{$J}[9s])
deriv(go_memstats_alloc_bytes{$J}[12s])
predict_linear(go_memstats_alloc_bytes{$J}[12s], 3600)
resets(go_goroutines{$J}[12s])
changes(go_goroutines{$J}[12s])
histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket{$J}[12s])))
histogram_quantile(0.5, prometheus_http_response_size_bytes_bucket{$J})
histogram_quantile(1.5, prometheus_http_response_size_bytes_bucket{$J})
sum(prometheus_http_requests_total{$J})
sum by (handler) (prometheus_http_requests_total{$J})
sum without (handler, code) (prometheus_http_requests_total{$J})
avg by (job) ({$J, __name__=~"go_.*"})
min by (code) (prometheus_http_requests_total{$J})
max(go_memstats_alloc_bytes{$J})
count by (__name__) ({$J, __name__=~"prometheus_tsdb_.*"})
group by (handler) (prometheus_http_requests_total{$J})
stddev(prometheus_http_request_duration_seconds_count{$J})
stdvar by (handler) (prometheus_http_request_duration_seconds_bucket{$J})
quantile(0.75, prometheus_http_request_duration_seconds_bucket{$J})
quantile by (handler) (0.1, prometheus_http_request_duration_seconds_bucket{$J})
count_values("v", prometheus_http_request_duration_seconds_bucket{$J})
topk(3, go_gc_duration_seconds{$J})
bottomk(2, go_gc_duration_seconds{$J})
topk by (job) (1, go_memstats_mspan_sys_bytes{$J})
go_memstats_alloc_bytes{$J} / go_memstats_sys_bytes{$J}
go_memstats_alloc_bytes{$J} / on (instance) group_left (version) prometheus_build_info{$J}
prometheus_build_info{$J} * on (instance) group_right () prometheus_http_requests_total{$J}
prometheus_http_requests_total{$J} / ignoring (handler, code) group_left sum without (handler, code) (prometheus_http_requests_total{$J})
go_goroutines{$J} > 10
go_goroutines{$J} > bool 1000
10 < go_goroutines{$J}
prometheus_http_requests_total{$J} != 0 and prometheus_http_requests_total{$J, code="200"}
prometheus_http_requests_total{$J} unless on (handler) prometheus_http_requests_total{handler=~"/api.*"}
go_goroutines{$J} or up{$J}
go_goroutines{$J} or on () vector(1)
-go_goroutines{$J} + 2 ^ 3 ^ 0.5 % 7
(go_goroutines{$J} + 0) atan2 5
max_over_time(rate(process_cpu_seconds_total{$J}[5s])[12s:3s])
avg_over_time((go_goroutines{$J} * 2)[9s:2s] offset 2s)
sum_over_time(up{$J}[9s:1s])
prometheus_tsdb_head_samples_appended_total{$J} offset 4s
prometheus_tsdb_head_samples_appended_total{$J} offset -2s
prometheus_tsdb_head_samples_appended_total{$J} @ $T
rate(prometheus_tsdb_head_samples_appended_total{$J}[7s] @ $T)
prometheus_tsdb_head_samples_appended_total{$J} @ start() - prometheus_tsdb_head_samples_appended_total{$J} @ end()
label_replace(up{$J}, "host", "$1", "instance", "(.*):.*")
label_replace(up{$J}, "instance", "", "instance", ".*")
label_join(up{$J}, "both", "/", "job", "instance", "missing")
absent(up{$J})
absent(nothing{job="x", a=~"b"})
absent_over_time(nothing{job="x"}[1m])
present_over_time(go_goroutines{$J}[9s])
avg_over_time(go_memstats_alloc_bytes{$J}[9s])
min_over_time(go_memstats_alloc_bytes{$J}[9s])
max_over_time(go_memstats_alloc_bytes{$J}[9s])
sum_over_time(go_memstats_alloc_bytes{$J}[9s])
count_over_time(go_memstats_alloc_bytes{$J}[9s])
stddev_over_time(go_memstats_alloc_bytes{$J}[9s])
stdvar_over_time(go_goroutines{$J}[9s])
quantile_over_time(0.3, go_memstats_alloc_bytes{$J}[9s])
last_over_time(go_goroutines{$J}[9s])
round(process_start_time_seconds{$J} / 7, 0.5)
clamp(go_goroutines{$J}, 3, 20)
clamp_max(go_goroutines{$J}, 20) - clamp_min(go_goroutines{$J}, 100)
ceil(go_goroutines{$J} / 7) + floor(go_goroutines{$J} / 7)
ln(go_memstats_alloc_bytes{$J}) + log2(go_goroutines{$J}) * log10(go_goroutines{$J})
sqrt(go_goroutines{$J}) + exp(-go_goroutines{$J}) + abs(-go_goroutines{$J}) + sgn(-go_goroutines{$J})
sort(go_gc_duration_seconds{$J})
sort_desc(go_gc_duration_seconds{$J})
scalar(go_goroutines{$J}) + scalar(nothing)
vector(time()) - vector(scalar(process_start_time_seconds{$J}))
timestamp(go_goroutines{$J})
timestamp(go_goroutines{$J} offset 3s)
hour() * 60 + minute()
day_of_week(process_start_time_seconds{$J}) + day_of_month() + days_in_month() + month() + year()
day_of_year(process_start_time_seconds{$J})
time()
pi() * deg(1) + rad(180)
0x1F + 1e3 - Inf
1 / 0 == bool +Inf
"text"
process_start_time_seconds{$J}[7s]
{__name__="up", $J}
go_gc_duration_seconds{$J, quantile!~"0|1"}
up{job=~".*prom.*", job!~"x|y", nothing=""}
sum(rate(prometheus_http_requests_total{$J}[9s])) by (code) > 0 or vector(0)
sum by (le) (prometheus_tsdb_compaction_chunk_range_seconds_bucket{$J})
go_info{$J} * 0 / 0
""".strip().splitlines()

HISTORY = """
requests_total
requests_total offset 7m
requests_total{code!~"2..|4.."}
requests_total{path=~"(?s).*[üc].*"}
requests_total{path="/a\\\\b\\"c\\nd"}
{zone=~"a|b", code=~".+", nothing!="x"}
{__name__=~"(late|requests)_total", kind!="once"}
rate(requests_total[2m])
rate(requests_total[40s])
rate(requests_total[16s])
increase(requests_total[5m])
irate(requests_total[3m])
increase(late_total[10m])
rate(late_total[1m])
resets(requests_total[15m])
changes(odd[10m])
changes(level[10m])
delta(level[4m])
idelta(level[4m])
deriv(level[5m])
deriv(odd{kind="big"}[5m])
deriv(level{disk="gap"}[5m])
predict_linear(level[5m], 600)
predict_linear(level[5m], -60)
avg_over_time(odd[3m])
avg_over_time(odd{kind="cycle"}[1m])
sum_over_time(odd[3m])
min_over_time(odd[3m])
max_over_time(odd[3m])
count_over_time(odd[3m])
last_over_time(odd[3m])
present_over_time(level[3m])
stddev_over_time(level[5m])
stdvar_over_time(odd{kind="big"}[5m])
quantile_over_time(0.5, level[5m])
quantile_over_time(-1, level[5m])
quantile_over_time(2, level[5m])
quantile_over_time(NaN, level[5m])
quantile_over_time(0.9, odd[2m])
absent_over_time(late_total{kind="once"}[5m])
absent(late_total{kind="begins"})
absent(sum(nothing{a="b"}))
absent(nothing{a="b", a="c", d="e"})
sum(odd)
avg(odd)
min(odd)
max(odd)
min by (kind) (odd)
stddev(odd)
stddev(level)
stdvar by (host) (level)
quantile(0.5, odd)
quantile(-0.1, level)
quantile(1.1, level)
topk(2, odd)
bottomk(2, odd)
topk(100, level)
topk(0, level)
topk by (host) (1, level)
bottomk without (disk) (1, level)
topk(scalar(limit{host="h3"}), level)
count_values("value", odd)
count_values by (host) ("host", level)
count_values("disk", level) by (host)
sum by (nothing) (level)
sum without (nothing) (level)
sum by (host, __name__) (level)
sum without (host) ({__name__=~"level|limit"})
group(level)
count(level > 0) by (host)
sort(odd)
sort_desc(odd)
sort(level)
-odd
odd + 1
odd * 0
odd / 0
odd % 0.3
5 % odd
odd ^ 2
2 ^ odd
(odd + 0) atan2 (odd + 1)
odd == odd
odd != odd
odd > bool 0
odd >= bool NaN
level > limit
level > on (host) group_left limit
level > bool on (host) group_left limit
level - ignoring (disk) group_left limit
limit * on (host) group_right level
level * on (host) group_left (version) build
level * on (host) group_left (disk) build
build * on (host) group_right (version) level
level / on (host, disk) level
level + ignoring (host) level
level + on () limit
level and on (host) limit
level and ignoring (disk) limit
level unless on (host) (limit > 0)
level or on (host) limit
limit or level
level{host="h1"} or level{host="h2"} and level{disk="a"}
level == on (host) group_left limit or limit
1 + 2 * 3 - 4 / 5 % 6 ^ -2
-2 ^ 2
2 ^ 3 ^ 2
-level ^ 2
(1 > bool 2) + (2 >= bool 2)
level > 1 < 50
1 - level - 1
1e3 + 0x1F + .5 + 1E-2
Inf - Inf
-NaN
vector(NaN) == NaN
vector(1) == bool vector(1)
scalar(level)
scalar(level{host="h10"}) * level
vector(scalar(limit{host="h1"})) + on () group_right limit
histogram_quantile(0.5, took_seconds_bucket)
histogram_quantile(0.95, rate(took_seconds_bucket[5m]))
histogram_quantile(0.95, sum by (le) (rate(took_seconds_bucket[5m])))
histogram_quantile(0, took_seconds_bucket)
histogram_quantile(1, took_seconds_bucket)
histogram_quantile(-1, took_seconds_bucket)
histogram_quantile(NaN, took_seconds_bucket)
histogram_quantile(0.1, below_bucket)
histogram_quantile(0.6, below_bucket)
histogram_quantile(0.99, below_bucket)
histogram_quantile(0.5, endless_bucket)
histogram_quantile(0.5, uneven_bucket)
histogram_quantile(0.5, faulty_bucket)
histogram_quantile(0.5, lone_bucket)
histogram_quantile(0.5, empty_bucket)
histogram_quantile(0.5, level)
histogram_quantile(scalar(limit{host="h3"}) / 3, took_seconds_bucket)
sum by (handler) (rate(took_seconds_sum[5m])) / sum by (handler) (rate(took_seconds_count[5m]))
quantiles{quantile="0.99"} - ignoring (quantile) quantiles{quantile="0.5"}
year(stamp) * 10000 + month(stamp) * 100 + day_of_month(stamp)
day_of_week(stamp)
day_of_year(stamp)
days_in_month(stamp)
hour(stamp + 12345) * 60 + minute(stamp + 12345)
month(vector(-1e9))
timestamp(level)
timestamp(level offset 3m)
timestamp(level + 0)
timestamp(timestamp(level))
time() - timestamp(requests_total{path="/"})
round(level)
round(level, 0.3)
round(level, 10)
round(odd)
round(-odd, 0)
ceil(odd)
floor(odd)
abs(odd)
sgn(odd)
sqrt(odd)
exp(odd)
ln(odd)
log2(odd)
log10(odd)
clamp(odd, -1, 1)
clamp(odd, 1, -1)
clamp_min(odd, 0)
clamp_max(odd, 0)
clamp(level, NaN, 1)
deg(odd) + rad(odd)
sin(level) + cos(level) + tan(level)
asin(level) + acos(level) + atan(level)
sinh(limit) + cosh(limit) + tanh(limit)
asinh(level) + acosh(level) + atanh(level / 100)
label_replace(level, "node", "n-$1", "host", "h(.*)")
label_replace(level, "host", "${1}x$2", "disk", "(a)|(b)")
label_replace(level, "disk", "", "host", "h1.*")
label_replace(level, "new", "x", "nothing", "")
label_replace(level, "new", "x", "host", "no")
label_replace(level, "__name__", "renamed", "", "")
label_replace(level{host="h1"}, "disk", "same", "", "")
label_join(level, "id", "-", "host", "disk")
label_join(level, "host", "-")
rate(requests_total[1m] offset 3m)
rate(requests_total[1m] @ $T offset 1m)
level @ start() + level @ end()
sum_over_time(level[5m] @ end())
sum_over_time((level @ end())[5m:1m])
avg_over_time(rate(requests_total[1m])[5m:30s])
max_over_time(sum by (host) (level)[5m:45s] offset 1m)
min_over_time((time())[2m:10s])
sum_over_time(vector(1)[3m:7s])
rate(sum by (code) (requests_total)[3m:])
last_over_time(level[5m:1m] @ $T)
quantile_over_time(0.5, (level > 0)[4m:20s])
count_over_time((sum(level) > 100)[10m:1m])
absent_over_time(nothing[5m:1m])
level[2m]
requests_total{path="/"}[1m] offset 2m
level{host="h1"}[3m:40s]
level{host="h1"}[3m:40s] @ $T
(level)
((1))
'text'
`raw\\`
"a\\u00e9\\x41\\101"
1
NaN
-Inf
time() % 60
vector(time())
level{host=~"h1|h2"}
level{host=~"h1.*", disk!~""}
level{host=~"(?i)H1"}
level{host=~"h[0-9]{2}"}
level{nothing=~"|x"}
level{host!=""}
sum(level) by (host) + on (host) limit
SUM BY (host) (level)
sum(level,)
sum by (host,) (level)
level # a comment
late_total
late_total{kind="once"}
count(late_total)
sum(rate(requests_total[2m])) by (code) / ignoring (code) group_left sum(rate(requests_total[2m]))
1 / level{disk="b"}
requests_total - requests_total offset 1m
stddev_over_time(odd{kind=~"big|nan"}[2m])
topk(1, requests_total) by (zone)
avg by (zone) (rate(requests_total[3m])) > 0.1
count(count by (path) (requests_total))
""".strip().splitlines()

# What both must refuse.
REFUSED = """
sum(
up{
rate(up)
rate(up[5m]
sum(up)[5m]
sum(up) by
up + on (instance) group_left up{job="x"} +
{}
{job=~".*"}
nothing(up)
up offset
1 and 2
go_gc_duration_seconds{$J} / on (job) go_gc_duration_seconds{$J}
label_replace(up, "a b", "", "", "(")
level * on (host) limit
level * on (nothing) group_left level
build * on () group_left level
level + on (host) group_left (x) on (host) limit
topk(level, level)
topk(2)
count_values(2, level)
quantile(level)
label_replace(level, "a", "b", "c")
label_replace(level, "disk", "same", "", "") - on () level
label_join(level, "host")
label_replace(level, "host", "x", "host", ".*")
label_join(level, "disk", "")
sum by (host) (level) without (host)
rate(level)
rate(level[0s])
rate(level[1m:0s])
level[5m] offset -
level @ x
level @ 1 @ 2
level offset 1m offset 2m
level[1m][1m]
level{host="h1",,}
level{"host"="h1}
level{host=~"("}
level{host==="h1"}
level{host}
"unended
'bad \\q'
1 == 2
1 or level
level or 1
level and bool level
level == bool
abs()
abs(1)
abs(level, level)
time(1)
vector(level)
scalar(1)
histogram_quantile(took_seconds_bucket)
sum(1)
sum("x")
"a" + 1
-"a"
level[5m] + 1
-level[5m]
1 2
level level
)
sum()
by (x) sum(level)
level{__name__="other"}
avg_over_time(level)
rate(rate(level[1m])[5m])
sum_over_time(1[5m:1m])
nan()
""".strip().splitlines()

# Of these, what Prometheus 3 tells in other words than Prometheus 2: durations may be expressions,
# labels may be quoted, and patterns are shown as they were written.
TOLD_OTHERWISE = ["up offset", "level[5m] offset -", 'level{"host"="h1}', 'level{host=~"("}']
