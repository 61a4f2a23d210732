//! The applications of the cluster: how much of the lines is theirs, and what they write.
//!
//! Each template has a weight within its application. [`super::place`] tells what places mean.

/// An application.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    pub(super) container: &'static str,
    /// Its part of all lines, in thousandths.
    pub(super) share: u32,
    /// The part of its lines that have a trace id as structured metadata.
    pub(super) traced: f64,
    /// Weights and templates.
    pub(super) lines: &'static [(u32, &'static str)],
}

const fn app(
    name: &'static str,
    namespace: &'static str,
    container: &'static str,
    share: u32,
    traced: f64,
    lines: &'static [(u32, &'static str)],
) -> App {
    App {
        name,
        namespace,
        container,
        share,
        traced,
        lines,
    }
}

/// All of them; planted lines go to the one called [`PLANTED`].
pub(super) const APPS: &[App] = &[
    app("checkout", "shop", "app", 90, 0.6, CHECKOUT),
    app("gateway", "edge", "nginx", 120, 0.0, GATEWAY),
    app("spark", "batch", "executor", 100, 0.0, SPARK),
    app("datanode", "batch", "datanode", 110, 0.0, DATANODE),
    app("search", "shop", "app", 80, 0.3, SEARCH),
    app("orders", "shop", "app", 70, 0.3, ORDERS),
    app("kubelet", "kube-system", "kubelet", 80, 0.0, KUBELET),
    app("sshd", "edge", "sshd", 70, 0.0, SSHD),
    app("payment", "shop", "app", 50, 0.6, PAYMENT),
    app("nova-api", "cloud", "api", 50, 0.0, NOVA),
    app("system", "hosts", "syslog", 60, 0.0, SYSTEM),
    app("postgres", "data", "postgres", 50, 0.0, POSTGRES),
    app("zookeeper", "data", "zookeeper", 40, 0.0, ZOOKEEPER),
    app("mailer", "shop", "worker", 30, 0.0, MAILER),
];

/// The application whose lines are free text, so that a word more in one changes nothing else.
pub(super) const PLANTED: &str = "system";

const CHECKOUT: &[(u32, &str)] = &[
    (
        40,
        r#"{"level":"INFO","ts":"<iso>.<ms>Z","logger":"http","caller":"http/handler.go:118","msg":"request completed","method":"<one:GET|POST|PUT|DELETE>","path":"<one:/api/cart|/api/checkout|/api/cart/items|/api/checkout/confirm|/api/coupons>","status":<one:200|201|204|404|409|500>,"duration_ms":<e:12>,"bytes":<s:900>,"remote":"<in>:<port>","user_id":<n:50000>,"request_id":"<request>","span_id":"<x:16>"}"#,
    ),
    (
        15,
        r#"{"level":"DEBUG","ts":"<iso>.<ms>Z","logger":"cache","caller":"cache/redis.go:74","msg":"cache <one:hit|miss|set>","key":"cart:<x:12>","ttl_s":<one:300|600|60>,"took_us":<s:240>}"#,
    ),
    (
        12,
        r#"{"level":"INFO","ts":"<iso>.<ms>Z","logger":"cart","caller":"cart/service.go:203","msg":"cart updated","user_id":<z:50000>,"cart":"<uuid>","items":<z:12>,"total":<f:80>,"currency":"<one:EUR|USD|GBP|CHF>"}"#,
    ),
    (
        8,
        r#"{"level":"INFO","ts":"<iso>.<ms>Z","logger":"order","caller":"order/place.go:66","msg":"order placed","order_id":"<order>","user_id":<z:50000>,"request_id":"<request>","warehouse":"<one:ams|fra|lis|waw>"}"#,
    ),
    (
        4,
        r#"{"level":"WARN","ts":"<iso>.<ms>Z","logger":"client","caller":"client/retry.go:41","msg":"retrying upstream call","upstream":"<one:payment|stock|pricing>","attempt":<one:1|2|3>,"backoff_ms":<s:150>,"error":"context deadline exceeded"}"#,
    ),
    (
        2,
        r#"{"level":"ERROR","ts":"<iso>.<ms>Z","logger":"order","caller":"order/place.go:91","msg":"order refused","order_id":"<order>","error":"stock: <one:reservation expired|no such item|conflict on version>","stacktrace":"shop/order.(*Service).Place\n\t/src/order/place.go:91\nshop/http.(*Handler).confirm\n\t/src/http/handler.go:164\nnet/http.HandlerFunc.ServeHTTP\n\t/usr/local/go/src/net/http/server.go:2171"}"#,
    ),
];

const PAYMENT: &[(u32, &str)] = &[
    (
        40,
        r#"{"level":30,"time":<epochms>,"pid":<pid>,"hostname":"<pod>","reqId":"<request>","trace_id":"<trace>","req":{"method":"POST","url":"/v1/<one:charges|authorise|refunds>","host":"payment.shop.svc:8080","remoteAddress":"<in>","remotePort":<port>},"msg":"incoming request"}"#,
    ),
    (
        40,
        r#"{"level":30,"time":<epochms>,"pid":<pid>,"hostname":"<pod>","reqId":"<request>","trace_id":"<trace>","res":{"statusCode":<one:200|201|402|409|500>},"responseTime":<f:38>,"msg":"request completed"}"#,
    ),
    (
        14,
        r#"{"level":30,"time":<epochms>,"pid":<pid>,"hostname":"<pod>","psp":"<one:adyen|stripe|worldline>","reqId":"<request>","order":"<order>","amount":<s:4200>,"currency":"<one:EUR|USD|GBP|CHF>","card":"<one:visa|mastercard|amex>","msg":"payment authorised"}"#,
    ),
    (
        4,
        r#"{"level":40,"time":<epochms>,"pid":<pid>,"hostname":"<pod>","psp":"<one:adyen|stripe|worldline>","order":"<order>","code":"<one:insufficient_funds|do_not_honor|expired_card>","msg":"payment declined"}"#,
    ),
    (
        1,
        r#"{"level":50,"time":<epochms>,"pid":<pid>,"hostname":"<pod>","err":{"type":"Error","message":"connect ECONNREFUSED <in>:5432","stack":"Error: connect ECONNREFUSED\n    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1555:16)\n    at async Pool.connect (/app/node_modules/pg-pool/index.js:45:11)","code":"ECONNREFUSED"},"msg":"database is gone"}"#,
    ),
];

const SEARCH: &[(u32, &str)] = &[
    (
        45,
        r#"ts=<iso>.<us>Z level=info caller=handler.go:142 msg="query served" index=<one:items|brands|articles|stores> terms=<z:8> hits=<s:120> took=<e:8>ms cached=<one:false|true> peer=<in>:<port>"#,
    ),
    (
        25,
        r#"ts=<iso>.<us>Z level=debug caller=shard.go:88 msg="shard answered" shard=<z:16> segments=<z:30> docs=<s:5000> took=<e:3>ms query=<x:10>"#,
    ),
    (
        12,
        r#"ts=<iso>.<us>Z level=info caller=refresh.go:57 msg="index refreshed" index=<one:items|brands|articles|stores> generation=<next> docs_added=<s:400> docs_deleted=<s:40> took=<f:90>ms"#,
    ),
    (
        6,
        r#"ts=<iso>.<us>Z level=warn caller=slow.go:31 msg="slow query" index=<one:items|brands|articles|stores> query="<one:red shoes|usb c cable|coffee|desk lamp|rain jacket|phone case>" took=<f:900>ms request_id=<request>"#,
    ),
    (
        2,
        r#"ts=<iso>.<us>Z level=error caller=shard.go:120 msg="shard failed" shard=<z:16> err="rpc error: code = <one:Unavailable|DeadlineExceeded> desc = connection to <in>:9300 lost""#,
    ),
];

const ORDERS: &[(u32, &str)] = &[
    (
        30,
        "<iso>.<ms>Z  INFO <pid> --- [orders] [nio-8080-exec-<z:40>] [<trace>-<x:16>] c.e.orders.api.OrderController       : <one:GET|POST|PUT> /orders/<order> answered <one:200|201|404|409> in <s:14> ms",
    ),
    (
        25,
        "<iso>.<ms>Z  INFO <pid> --- [orders] [nio-8080-exec-<z:40>] [<trace>-<x:16>] c.e.orders.domain.OrderService       : Order <order> of customer <z:50000> is now <one:PLACED|PAID|PACKED|SHIPPED|RETURNED>",
    ),
    (
        18,
        "<iso>.<ms>Z DEBUG <pid> --- [orders] [nio-8080-exec-<z:40>] [<trace>-<x:16>] o.h.SQL                              : select o1_0.id,o1_0.customer_id,o1_0.state,o1_0.total from orders o1_0 where o1_0.id=?",
    ),
    (
        10,
        "<iso>.<ms>Z  INFO <pid> --- [orders] [ntainer#0-0-C-1] [<trace>-<x:16>] c.e.orders.events.Consumer           : Received <one:payment.settled|stock.reserved|parcel.sent> at partition <z:12> offset <next>",
    ),
    (
        5,
        "<iso>.<ms>Z  WARN <pid> --- [l-1 housekeeper] com.zaxxer.hikari.pool.HikariPool    : pool-1 - Thread starvation or clock leap detected (housekeeper delta=<s:45>s<n:1000>ms).",
    ),
    (
        2,
        "<iso>.<ms>Z ERROR <pid> --- [orders] [nio-8080-exec-<z:40>] [<trace>-<x:16>] o.a.c.c.C.[.[.[/].[dispatcherServlet] : Servlet.service() for servlet [dispatcherServlet] in context with path [] threw exception\n\n<stack>",
    ),
];

const GATEWAY: &[(u32, &str)] = &[
    (
        60,
        r#"<out> - - [<access> +0000] "<one:GET|POST|GET|HEAD> <one:/api/items/|/api/products/|/p/|/img/><n:20000> HTTP/1.1" <one:200|200|304|404|301|500|502> <s:6000> "https://shop.example.com/<one:|search|cart|sale|new>" "Mozilla/5.0 (<one:Windows NT 10.0; Win64; x64|Macintosh; Intel Mac OS X 10_15_7|X11; Linux x86_64|Linux; Android 14>) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/<z:128>.0.<z:6600>.<z:200> Safari/537.36" <s:480> <f:0.04> [shop-<one:checkout|search|orders|payment>-80] [] <in>:8080 <s:6000> <f:0.04> <one:200|200|304|404|301|500|502> <x:16><x:16>"#,
    ),
    (
        25,
        r#"<out> - - [<access> +0000] "GET /static/<one:app|style|logo|fonts|vendor>.<x:8>.<one:js|css|svg|woff2> HTTP/2.0" <one:200|304> <s:20000> "https://shop.example.com/" "Mozilla/5.0 (iPhone; CPU iPhone OS <z:18>_<z:6> like Mac OS X) AppleWebKit/605.1.15 Version/<z:18>.<z:6> Mobile/15E148 Safari/604.1" <s:380> <f:0.001> [shop-static-80] [] <in>:8080 <s:20000> <f:0.001> 200 <x:16><x:16>"#,
    ),
    (
        12,
        r#"<in> - - [<access> +0000] "GET /healthz HTTP/1.1" 200 2 "-" "kube-probe/1.30" 0.000"#,
    ),
    (
        2,
        r#"<spaced> [error] <pid>#<pid>: *<next> upstream timed out (110: Connection timed out) while reading response header from upstream, client: <out>, server: shop.example.com, request: "GET /api/items/<n:20000> HTTP/1.1", upstream: "http://<in>:8080/api/items/<n:20000>", host: "shop.example.com""#,
    ),
];

const SPARK: &[(u32, &str)] = &[
    (
        20,
        "<slashed> INFO executor.Executor: Running task <z:2000>.0 in stage <z:60>.0 (TID <next>)",
    ),
    (
        20,
        "<slashed> INFO executor.Executor: Finished task <z:2000>.0 in stage <z:60>.0 (TID <next>). <s:2200> bytes result sent to driver",
    ),
    (
        16,
        "<slashed> INFO storage.BlockManager: Found block rdd_<z:60>_<z:2000> locally",
    ),
    (
        12,
        "<slashed> INFO storage.MemoryStore: Block broadcast_<z:3000>_piece0 stored as bytes in memory (estimated size <d:40> KB, free <d:600> KB)",
    ),
    (
        10,
        "<slashed> INFO storage.ShuffleBlockFetcherIterator: Getting <s:200> non-empty blocks out of <s:240> blocks",
    ),
    (
        8,
        "<slashed> INFO storage.ShuffleBlockFetcherIterator: Started <z:30> remote fetches in <s:9> ms",
    ),
    (
        6,
        "<slashed> INFO python.PythonRunner: Times: total = <s:46>, boot = <s:20>, init = <s:24>, finish = <z:3>",
    ),
    (
        4,
        "<slashed> INFO broadcast.TorrentBroadcast: Reading broadcast variable <z:3000> took <s:12> ms",
    ),
    (
        2,
        "<slashed> WARN memory.TaskMemoryManager: Failed to allocate a page (<s:67108864> bytes), try again.",
    ),
];

const DATANODE: &[(u32, &str)] = &[
    (
        25,
        "<short> <pid> INFO dfs.DataNode$PacketResponder: PacketResponder <one:1|2|0> for block <block> terminating",
    ),
    (
        25,
        "<short> <pid> INFO dfs.DataNode$PacketResponder: Received block <block> of size <one:67108864|67108864|3538944|91178> from /<in>",
    ),
    (
        20,
        "<short> <pid> INFO dfs.DataNode$DataXceiver: Receiving block <block> src: /<in>:<port> dest: /<in>:50010",
    ),
    (
        15,
        "<short> <pid> INFO dfs.FSNamesystem: BLOCK* NameSystem.addStoredBlock: blockMap updated: <in>:50010 is added to <block> size <one:67108864|67108864|3538944>",
    ),
    (
        5,
        "<short> <pid> INFO dfs.FSNamesystem: BLOCK* NameSystem.allocateBlock: /user/batch/run_<z:90>/_temporary/_task_<z:400>_m_<z:900>_0/part-<z:900>. <block>",
    ),
    (
        5,
        "<short> <pid> INFO dfs.DataBlockScanner: Verification succeeded for <block>",
    ),
    (
        3,
        "<short> <pid> INFO dfs.FSDataset: Deleting block <block> file /mnt/hadoop/dfs/data/current/subdir<z:64>/<block>",
    ),
    (
        2,
        "<short> <pid> WARN dfs.DataNode$DataXceiver: <in>:50010:Got exception while serving <block> to /<in>:",
    ),
];

const KUBELET: &[(u32, &str)] = &[
    (
        30,
        r#"I<klog>.<us>    <pid> httplog.go:132] "HTTP" verb="<one:GET|LIST|WATCH|PATCH>" URI="/api/v1/namespaces/team-<z:20>/<one:pods|configmaps|endpoints|secrets>/<one:web|api|worker|cron>-<z:400>" latency="<f:3>ms" userAgent="kube-controller-manager/v1.30.2 (linux/amd64)" audit-ID="<uuid>" srcIP="<in>:<port>" resp=<one:200|200|404|409>"#,
    ),
    (
        20,
        r#"I<klog>.<us>    <pid> reconciler_common.go:224] "operationExecutor.VerifyControllerAttachedVolume started for volume \"<one:config|kube-api-access|data|certs>-<z:300>\" (UniqueName: \"kubernetes.io/projected/<uuid>-kube-api-access\") pod \"<one:web|api|worker|cron>-<z:400>\" (UID: \"<uuid>\") " pod="team-<z:20>/<one:web|api|worker|cron>-<z:400>""#,
    ),
    (
        15,
        r#"I<klog>.<us>    <pid> kubelet.go:2410] "SyncLoop (PLEG): event for pod" pod="team-<z:20>/<one:web|api|worker|cron>-<z:400>" event={"ID":"<uuid>","Type":"<one:ContainerStarted|ContainerDied>","Data":"<request>"}"#,
    ),
    (
        15,
        r#"I<klog>.<us>    <pid> prober.go:107] "Probe failed" probeType="<one:Readiness|Liveness|Startup>" pod="team-<z:20>/<one:web|api|worker|cron>-<z:400>" podUID="<uuid>" containerName="app" probeResult="failure" output="Get \"http://<in>:8080/healthz\": context deadline exceeded""#,
    ),
    (
        8,
        r#"W<klog>.<us>    <pid> reflector.go:547] object-"team-<z:20>"/"kube-root-ca.crt": failed to list *v1.ConfigMap: configmaps is forbidden: no relationship found between node "<node>" and this object"#,
    ),
    (
        4,
        r#"E<klog>.<us>    <pid> pod_workers.go:1298] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"app\" with CrashLoopBackOff: \"back-off <one:5m0s|2m40s|1m20s|40s> restarting failed container\"" pod="team-<z:20>/<one:web|api|worker|cron>-<z:400>" podUID="<uuid>""#,
    ),
];

const SSHD: &[(u32, &str)] = &[
    (
        22,
        "<syslog> <node> sshd[<session>]: Failed password for <one:root|invalid user admin|invalid user test|invalid user oracle|invalid user ubuntu|invalid user git> from <out> port <port> ssh2",
    ),
    (
        20,
        "<syslog> <node> sshd[<session>]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=<out>  user=root",
    ),
    (
        14,
        "<syslog> <node> sshd[<session>]: Received disconnect from <out>: 11: Bye Bye [preauth]",
    ),
    (
        12,
        "<syslog> <node> sshd[<session>]: Invalid user <one:admin|test|oracle|ubuntu|git|postgres|deploy|ftp|nagios|pi> from <out>",
    ),
    (
        12,
        "<syslog> <node> sshd[<session>]: Connection closed by <out> [preauth]",
    ),
    (
        8,
        "<syslog> <node> sshd[<session>]: reverse mapping checking getaddrinfo for <one:static|dsl|host|customer>-<z:250>.<one:example.net|example.org|isp.example> [<out>] failed - POSSIBLE BREAK-IN ATTEMPT!",
    ),
    (
        6,
        "<syslog> <node> sshd[<session>]: Accepted publickey for <one:deploy|ops|backup> from <in> port <port> ssh2: ED25519 SHA256:<x:16><x:16>",
    ),
    (
        6,
        "<syslog> <node> sshd[<session>]: pam_unix(sshd:session): session <one:opened|closed> for user <one:deploy|ops|backup>",
    ),
];

const NOVA: &[(u32, &str)] = &[
    (
        55,
        r#"<spaced>.<ms> <pid> INFO nova.osapi_compute.wsgi.server [req-<uuid> <uuid> <uuid> - - -] <in> "<one:GET|GET|POST|DELETE> /v2/<uuid>/servers/<one:detail|detail|1|2|3> HTTP/1.1" status: <one:200|200|202|204|404> len: <s:1700> time: 0.<n:1000000>"#,
    ),
    (
        15,
        "<spaced>.<ms> <pid> INFO nova.metadata.wsgi.server [-] <in>,<in> \"GET /openstack/<one:2013-10-17|2012-08-10|latest>/<one:meta_data.json|vendor_data.json|user_data> HTTP/1.1\" status: 200 len: <s:600> time: 0.<n:1000000>",
    ),
    (
        15,
        "<spaced>.<ms> <pid> INFO nova.compute.manager [req-<uuid> - - - - -] [instance: <uuid>] VM <one:Started|Paused|Resumed|Stopped> (Lifecycle Event)",
    ),
    (
        10,
        "<spaced>.<ms> <pid> INFO nova.virt.libvirt.imagecache [req-<uuid> - - - - -] image <uuid> at (/var/lib/nova/instances/_base/<request>): checking",
    ),
    (
        3,
        "<spaced>.<ms> <pid> WARNING nova.virt.libvirt.imagecache [req-<uuid> - - - - -] Unknown base file: /var/lib/nova/instances/_base/<request>",
    ),
];

const SYSTEM: &[(u32, &str)] = &[
    (
        20,
        "<syslog> <node> systemd[1]: Started Session <next> of User <one:root|ops|backup|deploy>.",
    ),
    (
        16,
        "<syslog> <node> CRON[<session>]: (<one:root|www-data|backup>) CMD (<one:/usr/lib/sysstat/debian-sa1 1 1|cd / && run-parts --report /etc/cron.hourly|[ -x /usr/lib/php/sessionclean ] && /usr/lib/php/sessionclean>)",
    ),
    (
        16,
        "<syslog> <node> kernel: [<n:900000>.<us>] IN=eth0 OUT= MAC=<one:52:54:00:3b:9e:01|52:54:00:77:1c:09> SRC=<out> DST=<in> LEN=<one:60|40|52|44> TOS=0x00 PREC=0x00 TTL=<one:52|48|243|117> ID=<n:65536> PROTO=TCP SPT=<port> DPT=<one:22|23|445|3389|8080> WINDOW=<one:65535|1024|29200|14600> RES=0x00 SYN URGP=0",
    ),
    (
        12,
        "<syslog> <node> dhclient[<pid>]: DHCPREQUEST for <in> on eth0 to <in> port 67",
    ),
    (
        12,
        "<syslog> <node> dhclient[<pid>]: bound to <in> -- renewal in <s:1500> seconds.",
    ),
    (
        10,
        "<syslog> <node> systemd[1]: <one:apt-daily|fstrim|logrotate|man-db|e2scrub_all>.service: <one:Succeeded.|Consumed 1.204s CPU time.|Deactivated successfully.>",
    ),
    (
        8,
        "<syslog> <node> ntpd[<pid>]: synchronized to <out>, stratum <one:2|3|1>",
    ),
    (
        3,
        "<syslog> <node> kernel: [<n:900000>.<us>] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=<one:java|node|python3>,pid=<session>,uid=<one:1000|0|33>",
    ),
    (
        3,
        "<syslog> <node> kernel: [<n:900000>.<us>] EXT4-fs warning (device sda1): ext4_dx_add_entry:2461: Directory (ino: <n:9000000>) index full, reach max htree level :2",
    ),
];

const POSTGRES: &[(u32, &str)] = &[
    (
        35,
        "<spaced>.<ms> UTC [<session>] <one:shop|orders|search>@<one:shop|orders> LOG:  duration: <f:4> ms  execute S_<z:90>: SELECT id, state, total FROM orders WHERE customer_id = $1 ORDER BY created_at DESC LIMIT <one:10|20|50>",
    ),
    (
        20,
        "<spaced>.<ms> UTC [<session>] LOG:  connection received: host=<in> port=<port>",
    ),
    (
        20,
        "<spaced>.<ms> UTC [<session>] <one:shop|orders|search>@<one:shop|orders> LOG:  disconnection: session time: 0:<n:60>:<n:60>.<ms> user=<one:shop|orders|search> database=<one:shop|orders> host=<in> port=<port>",
    ),
    (
        10,
        "<spaced>.<ms> UTC [<pid>] LOG:  checkpoint complete: wrote <s:900> buffers (<d:4>%); 0 WAL file(s) added, <z:4> removed, <z:9> recycled; write=<f:80> s, sync=<f:0.02> s, total=<f:81> s; distance=<s:14000> kB, estimate=<s:15000> kB",
    ),
    (
        8,
        "<spaced>.<ms> UTC [<session>] LOG:  automatic vacuum of table \"shop.public.<one:orders|items|sessions|events>\": index scans: <one:0|1>\n\tpages: <z:9> removed, <s:4000> remain, <s:400> scanned\n\ttuples: <s:900> removed, <s:90000> remain, <z:50> are dead but not yet removable\n\tavg read rate: <f:3> MB/s, avg write rate: <f:2> MB/s",
    ),
    (
        4,
        "<spaced>.<ms> UTC [<session>] <one:shop|orders>@<one:shop|orders> ERROR:  duplicate key value violates unique constraint \"orders_number_key\"\n<spaced>.<ms> UTC [<session>] <one:shop|orders>@<one:shop|orders> DETAIL:  Key (number)=(<order>) already exists.",
    ),
];

const ZOOKEEPER: &[(u32, &str)] = &[
    (
        30,
        "<spaced>,<ms> - INFO  [NIOServerCxn.Factory:0.0.0.0/0.0.0.0:2181:NIOServerCnxn@1001] - Closed socket connection for client /<in>:<port> which had sessionid 0x<one:14|15><x:14>",
    ),
    (
        25,
        "<spaced>,<ms> - INFO  [NIOServerCxn.Factory:0.0.0.0/0.0.0.0:2181:NIOServerCnxnFactory@197] - Accepted socket connection from /<in>:<port>",
    ),
    (
        15,
        "<spaced>,<ms> - WARN  [WorkerReceiver[myid=<one:1|2|3>]:QuorumCnxManager$RecvWorker@762] - Connection broken for id <n:200000000000>, my id = <one:1|2|3>, error =",
    ),
    (
        15,
        "<spaced>,<ms> - WARN  [SendWorker:<n:200000000000>:QuorumCnxManager$SendWorker@679] - Interrupted while waiting for message on queue",
    ),
    (
        8,
        "<spaced>,<ms> - INFO  [SessionTracker:ZooKeeperServer@325] - Expiring session 0x<one:14|15><x:14>, timeout of <one:10000|20000|40000>ms exceeded",
    ),
    (
        5,
        "<spaced>,<ms> - INFO  [ProcessThread:-1:PrepRequestProcessor@476] - Processed session termination for sessionid: 0x<one:14|15><x:14>",
    ),
];

const MAILER: &[(u32, &str)] = &[
    (
        40,
        "[<spaced>,<ms>: INFO/ForkPoolWorker-<z:16>] Task mailer.tasks.<one:send_receipt|send_shipping|send_reset|send_digest>[<uuid>] succeeded in <f:0.3>s: None",
    ),
    (
        40,
        "[<spaced>,<ms>: INFO/MainProcess] Task mailer.tasks.<one:send_receipt|send_shipping|send_reset|send_digest>[<uuid>] received",
    ),
    (
        10,
        "[<spaced>,<ms>: WARNING/ForkPoolWorker-<z:16>] mx<z:4>.example.com answered <one:421|450|451> for user<z:30000>@<one:example.com|example.org|example.net>",
    ),
    (
        2,
        "[<spaced>,<ms>: ERROR/ForkPoolWorker-<z:16>] Task mailer.tasks.<one:send_receipt|send_shipping>[<uuid>] raised unexpected: SMTPServerDisconnected('Connection unexpectedly closed')\nTraceback (most recent call last):\n  File \"/app/venv/lib/python3.12/site-packages/celery/app/trace.py\", line 453, in trace_task\n    R = retval = fun(*args, **kwargs)\n  File \"/app/mailer/tasks.py\", line <z:90>, in send\n    smtp.send_message(message)\nsmtplib.SMTPServerDisconnected: Connection unexpectedly closed",
    ),
];
