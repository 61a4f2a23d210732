//! The command line. Flags win over environment variables, those over the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::correlate::CorrelateOptions;
use crate::kube_state::KubeStateOptions;
use crate::kubernetes_install::KubernetesCommand;
use crate::node_exporter::NodeExporterOptions;
use crate::paint::Colour;
use crate::rule_arguments::{CheckRulesOptions, RulesCommand, TestRulesOptions};
use crate::rule_flags::RuleFlags;
use crate::shape::Shape;
use crate::slo::SloCommand;
pub(crate) use crate::transfer_arguments::{
    ExportFormat, ExportLogsOptions, ExportOptions, ExportSignal, ImportFormat, ImportOptions,
    LogExportFormat,
};

/// obs watches a cluster: metrics, logs and traces in one binary.
#[derive(Debug, Parser)]
#[command(name = "obs", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// When to colour [default: on terminals, unless NO_COLOR is set]
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Colour::Auto,
          hide_default_value = true, help_heading = "Global")]
    pub(crate) color: Colour,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take in, keep and answer: the server
    #[command(after_help = "Examples:\n  obs serve --data /var/lib/obs\n  \
        obs serve --config prometheus.yml --web.config.file web.yml --listen 0.0.0.0:9090")]
    Serve(ServeOptions),
    /// Collect on a node and send everything on (scrapes, logs, receivers; buffered on disk)
    #[command(
        after_help = "Examples:\n  obs agent --config agent.yml --data /var/lib/obs-agent\n\n\
        The configuration is that of `obs serve`; obs.collector.destinations says where to."
    )]
    Agent(AgentOptions),
    /// Evaluate a query (PromQL, or another language with --lang)
    #[command(after_help = "Examples:\n  obs query up\n  \
        obs query 'sum by (mode) (rate(node_cpu_seconds_total[1m]))' --since 1h\n  \
        obs query 'topk(5, container_memory_working_set_bytes)' -o graph\n  \
        obs query up --from 'yesterday 14:00' --to 'yesterday 16:00' --step 5m -o csv")]
    Query(QueryOptions),
    /// Show a query again and again: redrawn on a terminal, line by line into a pipe
    #[command(
        after_help = "Examples:\n  obs watch 'rate(http_requests_total[1m])'\n  \
        obs watch up --every 1s --count 10 -o json"
    )]
    Watch(crate::watch::WatchOptions),
    /// Show what a query costs, and what each part of it gives
    #[command(
        after_help = "Examples:\n  obs explain 'sum by (job) (rate(http_requests_total[5m]))' --since 1d\n  \
        obs explain --plan 'topk(5, rate(http_requests_total[5m]))'"
    )]
    Explain(crate::explain::ExplainOptions),
    /// Show which nodes and pods use most CPU and memory
    #[command(subcommand)]
    Top(crate::top::TopCommand),
    /// List the names of labels, or the values of one
    #[command(
        after_help = "Examples:\n  obs labels\n  obs labels job --match 'up{env=\"prod\"}'\n  \
        obs labels namespace --lang logql --since 1d\n  obs labels __name__ -o graph"
    )]
    Labels(crate::labels::LabelsOptions),
    /// List series
    #[command(after_help = "Examples:\n  obs series up\n  \
        obs series 'http_requests_total{code=~\"5..\"}' --since 1d -o json\n  \
        obs series '{job=\"node\"}' -o graph")]
    Series(crate::labels::SeriesOptions),
    /// Show log lines (LogQL)
    #[command(
        after_help = "Examples:\n  obs logs '{service_name=\"obs\"}' --follow\n  \
        obs logs '{app=\"shop\"} |= \"error\"' --since 2h -o json\n  \
        obs logs '{app=\"shop\"} |= \"panic\"' -C 5\n  \
        obs logs '{app=\"shop\"}' --since 1d --histogram"
    )]
    Logs(LogsOptions),
    /// Search traces (TraceQL)
    #[command(
        after_help = "Examples:\n  obs traces '{ resource.service.name = \"shop\" }'\n  \
        obs traces '{ status = error && duration > 1s }' --since 6h"
    )]
    Traces(TracesOptions),
    /// Show one trace as a waterfall
    #[command(
        after_help = "Examples:\n  obs trace 0af7651916cd43dd8448eb211c80319c\n  \
        obs trace 0af7651916cd43dd8448eb211c80319c --logs\n  \
        obs trace --compare 0af7651916cd43dd8448eb211c80319c 5b8aa5a2d2c872e8321cf37308d69df2"
    )]
    Trace(TraceOptions),
    /// Show exceptions that spans recorded, in groups; with a fingerprint one of them
    #[command(after_help = "Examples:\n  obs errors --service shop --since 6h\n  \
        obs errors 7b1f0c9e2a44d001")]
    Errors(ErrorsOptions),
    /// What the Alertmanager knows, and where alerts would go
    #[command(subcommand)]
    Alerts(crate::alerts::Alerts),
    /// Silences of the Alertmanager
    #[command(subcommand)]
    Silence(crate::alerts::Silence),
    /// Show who calls whom, from metrics of spans
    #[command(after_help = "Examples:\n  obs service-graph --since 15m\n  \
        obs service-graph -o dot | dot -Tsvg > services.svg")]
    ServiceGraph(ServiceGraphOptions),
    /// From a trace, a log line, exemplars or labels to queries of the other signals
    #[command(
        after_help = "Examples:\n  obs correlate --trace 0af7651916cd43dd8448eb211c80319c\n  \
        obs correlate --line 'trace_id=0af7651916cd43dd8448eb211c80319c failed' pod=shop-0\n  \
        obs correlate --exemplars traces_spanmetrics_latency_bucket\n  \
        obs correlate namespace=eu pod=shop-0"
    )]
    Correlate(CorrelateOptions),
    /// Show what things cost, what could be saved, what comes and what would be
    #[command(after_help = "Examples:\n  obs cost --by controller --window 7d\n  \
        obs cost --by namespace --window lastmonth --daily -o csv\n  \
        obs cost savings --strategy vpa\n  obs cost what-if --replicas shop/web:5")]
    Cost(Box<crate::cost::CostOptions>),
    /// Serve this machine's metrics with node_exporter's names and flags
    #[command(after_help = "Examples:\n  obs node-exporter --once\n  \
        obs node-exporter --listen :9100 --collector.systemd --no-collector.hwmon\n  \
        obs node-exporter --path.rootfs /host --path.procfs /host/proc --path.sysfs /host/sys")]
    NodeExporter(NodeExporterOptions),
    /// Serve the state of Kubernetes objects with kube-state-metrics' names
    #[command(
        after_help = "Examples:\n  obs kube-state --kubeconfig ~/.kube/config\n  \
        obs kube-state --listen 0.0.0.0:8080 --metric-labels-allowlist 'pods=[app],nodes=[*]'"
    )]
    KubeState(Box<KubeStateOptions>),
    /// Run obs in a Kubernetes cluster
    #[command(subcommand)]
    Kubernetes(KubernetesCommand),
    /// Take in samples of another system: blocks of Prometheus, OpenMetrics, JSON lines, CSV
    #[command(
        after_help = "Examples:\n  obs import /var/lib/prometheus/metrics2\n  \
        obs import backup.om --format openmetrics --resume import.state\n  \
        obs import prices.csv --columns 2:metric:ask,1:label:ticker,3:time:unix_s"
    )]
    Import(ImportOptions),
    /// Give out samples as OpenMetrics, JSON lines or CSV; `export logs` gives out log lines
    #[command(
        after_help = "Examples:\n  obs export '{job=\"node\"}' --since 1d --file node.jsonl\n  \
        obs export up -o csv --columns __name__,instance,__value__,__timestamp__:rfc3339\n  \
        obs export logs '{app=\"shop\"} |= \"error\"' --since 7d --file shop.jsonl"
    )]
    Export(ExportOptions),
    /// Copy everything that a server keeps into a folder or a bucket, while it runs
    #[command(after_help = "Examples:\n  obs backup --to /mnt/backups\n  \
        obs backup --to s3://backups/obs --endpoint http://minio:9000\n  \
        obs backup --data /var/lib/obs --to /mnt/backups   (of a server that is stopped)\n  \
        obs backup list --from /mnt/backups\n  obs backup prune --from /mnt/backups --keep 14")]
    Backup(Box<crate::backup::BackupOptions>),
    /// Make a data directory of a backup, or check one
    #[command(
        after_help = "Examples:\n  obs restore --from /mnt/backups --data /var/lib/obs\n  \
        obs restore --from s3://backups/obs --backup 20260102T030405Z-000000000c0ffee00 --data data\n  \
        obs restore --from /mnt/backups --verify-only"
    )]
    Restore(Box<crate::backup::RestoreOptions>),
    /// Look a data directory, a configuration, this machine and a server through, and explain
    #[command(
        after_help = "Examples:\n  obs doctor\n  obs doctor --data /var/lib/obs --deep\n  \
        obs doctor --config obs.yml --server http://127.0.0.1:9090 -o json"
    )]
    Doctor(crate::doctor::DoctorOptions),
    /// Check files
    #[command(subcommand)]
    Check(Check),
    /// Run tests that are written in files
    #[command(subcommand)]
    Test(Test),
    /// Show the rules of a server; fill in what recording rules would have recorded
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Service level objectives: their rules, and how they stand
    #[command(subcommand)]
    Slo(SloCommand),
    /// Servers with names: list them, choose one, add and remove them
    #[command(subcommand, alias = "ctx")]
    Context(crate::context::ContextCommand),
    /// Grafana beside obs
    #[command(subcommand)]
    Grafana(crate::grafana::GrafanaCommand),
    /// Print completions for a shell
    #[command(after_help = "Examples:\n  source <(obs completions bash)\n  \
        obs completions zsh > ~/.zfunc/_obs\n  \
        obs completions fish > ~/.config/fish/completions/obs.fish")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: crate::complete::ShellName,
    },
    /// Print the manual page, or write one for each command
    #[command(after_help = "Examples:\n  obs man | man -l -\n  obs man --dir /usr/share/man/man1")]
    Man {
        /// Write the pages of all commands into this folder
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    /// Check a configuration file; says line and column of what is wrong
    #[command(after_help = "Examples:\n  obs check config obs.yml")]
    Config {
        /// The file
        file: PathBuf,
    },
    /// Check rule files; says line and column of what is wrong
    #[command(after_help = "Examples:\n  obs check rules rules/*.yml\n  \
        obs check rules --lint all --lint-fatal --url http://127.0.0.1:9090 rules.yml")]
    Rules(CheckRulesOptions),
    /// Check Grafana dashboards: their shape, their queries, what obs does not draw
    #[command(after_help = "Examples:\n  obs check dashboard dashboards/*.json")]
    Dashboard {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check an exposition (standard input without a file), as promtool does
    #[command(
        after_help = "Examples:\n  curl -s localhost:8080/metrics | obs check metrics\n  \
        obs check metrics exposition.txt --extended"
    )]
    Metrics(crate::check_metrics::CheckMetricsOptions),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Test {
    /// Run files in the format of Prometheus' promqltest
    ///
    /// Every instant evaluation is also run at other times with `@` on each selector, and in the
    /// middle of a range, as Prometheus' own runner does.
    #[command(
        after_help = "Examples:\n  obs test promql functions.test operators.test\n  \
        obs test promql --names=at-once functions.test"
    )]
    Promql(TestPromqlOptions),
    /// Run unit tests of rules in promtool's format, or try rules out on stored data
    #[command(after_help = "Examples:\n  obs test rules tests.yml\n  \
        obs test rules --against 7d --url http://127.0.0.1:9090 rules.yml\n  \
        obs test rules --run down --diff --junit results.xml tests/*.yml")]
    Rules(TestRulesOptions),
}

/// When metric names leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Names {
    /// At the end of evaluation (promql-delayed-name-removal), as the files assume
    AtEnd,
    /// At each function and operator
    AtOnce,
}

#[derive(Debug, Args)]
pub(crate) struct TestPromqlOptions {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// When metric names leave
    #[arg(long, value_enum, default_value_t = Names::AtEnd)]
    pub(crate) names: Names,
}

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Configuration: a prometheus.yml with one more key `obs:`
    #[arg(long, value_name = "FILE", env = "OBS_CONFIG")]
    config: Option<PathBuf>,
    /// Folder for everything that is kept
    #[arg(long, value_name = "DIR", env = "OBS_DATA", default_value = "data")]
    data: PathBuf,
    /// Address of the HTTP APIs and the UI; port 0 picks one
    #[arg(
        long,
        value_name = "ADDR",
        env = "OBS_LISTEN",
        value_parser = address,
        default_value = "127.0.0.1:9090"
    )]
    listen: SocketAddr,
    /// Address of the OTLP gRPC receiver
    #[arg(
        long,
        value_name = "ADDR",
        env = "OBS_OTLP_GRPC_LISTEN",
        value_parser = address,
        default_value = "127.0.0.1:4317"
    )]
    otlp_grpc_listen: SocketAddr,
    /// Address of the OTLP HTTP receiver
    #[arg(
        long,
        value_name = "ADDR",
        env = "OBS_OTLP_HTTP_LISTEN",
        value_parser = address,
        default_value = "127.0.0.1:4318"
    )]
    otlp_http_listen: SocketAddr,
    /// Listen on addresses that others reach although nobody is asked who they are
    #[arg(long, env = "OBS_INSECURE_LISTEN")]
    insecure_listen: bool,
    /// TLS, users and headers in Prometheus' web.yml; read anew when it changes
    #[arg(
        long,
        alias = "web.config.file",
        value_name = "FILE",
        env = "OBS_WEB_CONFIG_FILE"
    )]
    web_config_file: Option<PathBuf>,
    /// How long data is kept, for example 15d; 0 keeps it for ever [default: 15d]
    #[arg(long, value_name = "DURATION", env = "OBS_RETENTION", value_parser = duration_text)]
    retention: Option<String>,
    /// Serve HTTP under this path too, for a proxy that does not take it away
    #[arg(
        long,
        alias = "web.route-prefix",
        value_name = "PATH",
        env = "OBS_ROUTE_PREFIX",
        value_parser = route_prefix,
        default_value = ""
    )]
    route_prefix: String,
    /// Where users reach this server, for links in alerts; http://HOST:PORT without it
    #[arg(
        long,
        alias = "web.external-url",
        value_name = "URL",
        env = "OBS_EXTERNAL_URL"
    )]
    external_url: Option<String>,
    /// Let HTTP clients ask for a reload (POST /-/reload); SIGHUP does in any case
    #[arg(long, alias = "web.enable-lifecycle", env = "OBS_ENABLE_LIFECYCLE")]
    enable_lifecycle: bool,
    /// Let HTTP clients delete series and take snapshots (/api/v1/admin/tsdb)
    #[arg(long, alias = "web.enable-admin-api", env = "OBS_ENABLE_ADMIN_API")]
    enable_admin_api: bool,
    #[command(flatten)]
    rules: RuleFlags,
    /// Switch features of Prometheus on, by its names: promql-delayed-name-removal,
    /// use-start-timestamps, type-and-unit-labels, promql-per-step-stats, …
    #[arg(
        long,
        value_name = "NAMES",
        env = "OBS_ENABLE_FEATURE",
        value_delimiter = ','
    )]
    enable_feature: Vec<String>,
    /// Experimental parts of PromQL only where --enable-feature names them, as in Prometheus
    #[arg(long, env = "OBS_PROMETHEUS_DEFAULTS")]
    prometheus_defaults: bool,
    /// Shape of the log on standard error
    #[arg(long, value_enum, env = "OBS_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// More log on standard error (-v debug, -vv trace)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Args)]
pub(crate) struct AgentOptions {
    /// Configuration, as of `obs serve`
    #[arg(long, value_name = "FILE", env = "OBS_CONFIG")]
    config: Option<PathBuf>,
    /// Folder for the buffer and the checkpoints
    #[arg(
        long,
        value_name = "DIR",
        env = "OBS_DATA",
        default_value = "agent-data"
    )]
    data: PathBuf,
    /// Address of receivers over HTTP, /-/ready and /metrics; port 0 picks one
    #[arg(
        long,
        value_name = "ADDR",
        env = "OBS_LISTEN",
        value_parser = address,
        default_value = "127.0.0.1:9096"
    )]
    listen: SocketAddr,
    /// Address of the OTLP gRPC receiver [default: 127.0.0.1:4317 if it is free]
    #[arg(long, value_name = "ADDR", env = "OBS_OTLP_GRPC_LISTEN", value_parser = address)]
    otlp_grpc_listen: Option<SocketAddr>,
    /// Address of the OTLP HTTP receiver [default: 127.0.0.1:4318 if it is free]
    #[arg(long, value_name = "ADDR", env = "OBS_OTLP_HTTP_LISTEN", value_parser = address)]
    otlp_http_listen: Option<SocketAddr>,
    /// The node that this runs on, whose pods obs.kubernetes.pods watches
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node_name: Option<String>,
    /// Shape of the log on standard error
    #[arg(long, value_enum, env = "OBS_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// More log on standard error (-v debug, -vv trace)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl AgentOptions {
    pub(crate) fn into_agent(self) -> obs_server::AgentOptions {
        obs_server::AgentOptions {
            config: self.config,
            data: self.data,
            listen: self.listen,
            otlp_grpc_listen: self.otlp_grpc_listen,
            otlp_http_listen: self.otlp_http_listen,
            node_name: self.node_name,
            log_format: self.log_format.into(),
            verbose: self.verbose,
        }
    }
}

impl From<LogFormat> for obs_server::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl ServeOptions {
    pub(crate) fn into_server(self) -> anyhow::Result<obs_server::Options> {
        let retention = self.retention.as_deref().map(duration).transpose();
        let features = obs_server::Features::new(&self.enable_feature, self.prometheus_defaults);
        let features = features.unwrap_or_else(|fault| {
            let kind = clap::error::ErrorKind::InvalidValue;
            let fault = format!("invalid value for '--enable-feature <NAMES>': {fault}");
            Cli::command().error(kind, fault).exit()
        });
        Ok(obs_server::Options {
            rules: self.rules.options()?,
            features,
            config: self.config,
            data: self.data,
            listen: self.listen,
            otlp_grpc_listen: self.otlp_grpc_listen,
            otlp_http_listen: self.otlp_http_listen,
            insecure_listen: self.insecure_listen,
            web_config_file: self.web_config_file,
            retention_nanos: retention.context("--retention")?,
            route_prefix: self.route_prefix,
            external_url: self.external_url,
            enable_lifecycle: self.enable_lifecycle,
            enable_admin_api: self.enable_admin_api,
            log_format: self.log_format.into(),
            verbose: self.verbose,
        })
    }
}

/// Which server to ask, and as whom.
#[derive(Debug, Default, Args)]
pub(crate) struct ServerOptions {
    /// The server [env: OBS_SERVER] [default: that of `obs context use`, or http://127.0.0.1:9090]
    #[arg(long, value_name = "URL", value_parser = server_url, help_heading = "Server")]
    pub(crate) server: Option<String>,
    /// The server that has this name (`obs context list`) [env: OBS_CONTEXT]
    #[arg(long, value_name = "NAME", conflicts_with = "server", help_heading = "Server",
          add = crate::complete::contexts())]
    pub(crate) context: Option<String>,
    /// The tenant (X-Scope-OrgID) [env: OBS_TENANT]
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: Box<crate::credentials::Credentials>,
}

impl ServerOptions {
    /// A server by its address.
    pub(crate) fn at(url: &str, tenant: Option<&str>) -> Self {
        Self {
            server: Some(url.to_owned()),
            tenant: tenant.map(str::to_owned),
            ..Self::default()
        }
    }
}

/// Which time to ask about.
#[derive(Debug, Args)]
pub(crate) struct TimeOptions {
    /// From so long ago until now: 1h, 90m, '2 days'
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["from", "to"],
          value_parser = duration_text, help_heading = "Time")]
    pub(crate) since: Option<String>,
    /// From this time: -2h, 'yesterday 14:00', 2026-11-21T10:00:00Z, seconds since the epoch
    #[arg(long, value_name = "TIME", value_parser = time_text, allow_hyphen_values = true,
          help_heading = "Time")]
    pub(crate) from: Option<String>,
    /// Until this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_text, allow_hyphen_values = true,
          help_heading = "Time")]
    pub(crate) to: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
    Csv,
}

impl From<Output> for Shape {
    fn from(output: Output) -> Self {
        match output {
            Output::Table => Self::Table,
            Output::Json => Self::Json,
            Output::Csv => Self::Csv,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lang {
    Promql,
    Logql,
    Traceql,
}

#[derive(Debug, Args)]
pub(crate) struct QueryOptions {
    /// The query
    #[arg(add = crate::complete::metric_names())]
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// The language
    #[arg(long, value_enum, default_value_t = Lang::Promql)]
    pub(crate) lang: Lang,
    /// Time between points of a range, for example 30s [default: about 240 points]
    #[arg(long, value_name = "DURATION", value_parser = length_text)]
    pub(crate) step: Option<String>,
    /// Most series, lines or traces
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) limit: Option<usize>,
    /// Shape of the output [default: a graph for ranges on a terminal, else table]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Shape>,
    /// The same as -o graph
    #[arg(long, conflicts_with = "output")]
    pub(crate) graph: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogOutput {
    /// Time, labels and line, coloured by level
    Table,
    /// The lines alone
    Raw,
    /// One JSON object a line
    Json,
    /// Time, a column for each label, and the line
    Csv,
    /// How many lines there were when, by level
    Graph,
}

#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    /// The query, for example '{app="shop"} |= "error"'
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// Go on showing lines as they arrive
    #[arg(short, long, conflicts_with = "to")]
    pub(crate) follow: bool,
    /// Show so many lines of the same stream before and behind each line
    #[arg(short = 'C', long, value_name = "N", conflicts_with = "follow")]
    pub(crate) around: Option<usize>,
    /// Show how many lines there were when, by level, instead of the lines (also -o graph)
    #[arg(long, conflicts_with_all = ["follow", "around"])]
    pub(crate) histogram: bool,
    /// Most lines
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count)]
    pub(crate) limit: usize,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = LogOutput::Table)]
    pub(crate) output: LogOutput,
}

#[derive(Debug, Args)]
pub(crate) struct TracesOptions {
    /// The query, for example '{ status = error }'
    #[arg(default_value = "{}")]
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// Most traces
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = count)]
    pub(crate) limit: usize,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = Shape::Table)]
    pub(crate) output: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct TraceOptions {
    /// The trace's id in hexadecimal
    #[arg(required_unless_present = "compare")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// Shape of the output: graph is the waterfall, json is OTLP [default: graph; of --compare table]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Shape>,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    pub(crate) json: bool,
    /// Print the log lines of the trace below it
    #[arg(long, conflicts_with_all = ["json", "compare", "output"])]
    pub(crate) logs: bool,
    /// Show two traces side by side, operation by operation
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["id", "json"])]
    pub(crate) compare: Vec<String>,
}

/// In which order groups of exceptions come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ErrorOrder {
    /// The one that happened last first
    Last,
    /// The one that is newest first
    First,
    /// The one that happened most often first
    Count,
}

impl ErrorOrder {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::First => "first",
            Self::Count => "count",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ErrorsOptions {
    /// Only this group, with stack trace and traces
    pub(crate) fingerprint: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// Only exceptions of this service
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Only exceptions of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Only exceptions whose type or message has this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Only exceptions of spans that failed
    #[arg(long)]
    pub(crate) failed: bool,
    /// In which order
    #[arg(long, value_enum, default_value_t = ErrorOrder::Last)]
    pub(crate) sort: ErrorOrder,
    /// Most groups
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count)]
    pub(crate) limit: usize,
    /// Groups to leave out at the begin
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) offset: usize,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = Shape::Table)]
    pub(crate) output: Shape,
}

/// Shapes of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphOutput {
    Table,
    Json,
    Csv,
    /// Bars of calls
    Graph,
    /// For Graphviz
    Dot,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceGraphOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = GraphOutput::Table)]
    pub(crate) output: GraphOutput,
}

/// Nanoseconds of a duration such as `1h30m`.
pub(crate) fn duration(text: &str) -> anyhow::Result<i64> {
    crate::when::duration(text)
        .with_context(|| format!("{text:?} is not a duration such as 15s, 1h30m or 7d"))
}

// What follows checks values while the command line is read, so that a wrong one is misuse (exit
// code 2) and the message names its flag.

pub(crate) fn duration_text(text: &str) -> Result<String, String> {
    duration(text)
        .map(|_| text.to_owned())
        .map_err(|_| "expected a duration such as 15s, 1h30m or 7d".to_owned())
}

/// A duration that is one: more than nothing.
pub(crate) fn length_text(text: &str) -> Result<String, String> {
    let text = duration_text(text)?;
    match duration(&text) {
        Ok(nanos) if nanos > 0 => Ok(text),
        _ => Err("expected more than nothing, such as 15s, 1h30m or 7d".to_owned()),
    }
}

/// How many there may be: of all that may be limited, one at least.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a number from 1 on".to_owned())
}

pub(crate) fn time_text(text: &str) -> Result<String, String> {
    crate::client::time(text)
        .map(|_| text.to_owned())
        .map_err(|_| crate::when::EXPECTED.to_owned())
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address and a port such as 127.0.0.1:9090".to_owned())
}

fn route_prefix(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    if path.is_empty() || obs_server::is_prefix(path) {
        Ok(path.to_owned())
    } else {
        Err("expected a path such as /obs".to_owned())
    }
}

pub(crate) fn server_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok();
    let known = url.is_some_and(|u| ["http", "https"].contains(&u.scheme()) && u.has_host());
    if known {
        Ok(text.to_owned())
    } else {
        Err("expected a URL such as http://127.0.0.1:9090".to_owned())
    }
}
