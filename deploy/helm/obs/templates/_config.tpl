{{/* The configuration of the server: what is written here, and what the values merge over it. */}}
{{- define "obs.server.config" -}}
{{- $written := include "obs.server.written" . | fromYaml }}
{{- toYaml (mergeOverwrite $written (deepCopy .Values.server.config)) }}
{{- end }}

{{- define "obs.server.written" -}}
{{- $scrape := .Values.server.scrape }}
{{- $account := "/var/run/secrets/kubernetes.io/serviceaccount" }}
global:
  scrape_interval: {{ $scrape.interval }}
  evaluation_interval: 30s
scrape_configs:
{{- if $scrape.kubelet }}
{{- range $name, $path := dict "kubelet" "/metrics" "kubelet-cadvisor" "/metrics/cadvisor" "kubelet-probes" "/metrics/probes" }}
- job_name: {{ $name }}
  scheme: https
  metrics_path: {{ $path }}
  honor_labels: true
  honor_timestamps: {{ ne $name "kubelet-cadvisor" }}
  authorization: {credentials_file: {{ $account }}/token}
  tls_config:
    {{- if $scrape.kubeletInsecureSkipVerify }}
    insecure_skip_verify: true
    {{- else }}
    ca_file: {{ $account }}/ca.crt
    {{- end }}
  kubernetes_sd_configs: [{role: node}]
  relabel_configs:
  - {target_label: job, replacement: kubelet}
  - {target_label: metrics_path, replacement: {{ $path }}}
  - {source_labels: [__meta_kubernetes_node_name], target_label: node}
  {{- if eq $name "kubelet-cadvisor" }}
  metric_relabel_configs:
  - {source_labels: [__name__], regex: container_(network_tcp_usage_total|network_udp_usage_total|tasks_state|cpu_load_average_10s|memory_failures_total), action: drop}
  {{- end }}
{{- end }}
{{- end }}
{{- if $scrape.apiServer }}
- job_name: apiserver
  scheme: https
  authorization: {credentials_file: {{ $account }}/token}
  tls_config: {ca_file: {{ $account }}/ca.crt, server_name: kubernetes}
  kubernetes_sd_configs:
  - {role: endpointslice, namespaces: {names: [default]}}
  relabel_configs:
  - {source_labels: [__meta_kubernetes_service_name, __meta_kubernetes_endpointslice_port_name], regex: kubernetes;https, action: keep}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_service_name], target_label: service}
  metric_relabel_configs:
  - {source_labels: [__name__], regex: (apiserver_(request_body_size_bytes|response_sizes|watch_events_sizes|request_slo_duration_seconds)|etcd_request_duration_seconds)_bucket, action: drop}
{{- end }}
{{- if $scrape.coreDns }}
- job_name: coredns
  kubernetes_sd_configs:
  - {role: endpointslice, namespaces: {names: [kube-system]}}
  relabel_configs:
  - {source_labels: [__meta_kubernetes_service_label_k8s_app, __meta_kubernetes_endpointslice_port_name], regex: kube-dns;metrics, action: keep}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_service_name], target_label: service}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
{{- end }}
{{- if $scrape.controlPlane }}
{{- range $name, $port := dict "kube-scheduler" "10259" "kube-controller-manager" "10257" }}
- job_name: {{ $name }}
  scheme: https
  authorization: {credentials_file: {{ $account }}/token}
  tls_config: {insecure_skip_verify: true}
  kubernetes_sd_configs:
  - {role: pod, namespaces: {names: [kube-system]}}
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_label_component], regex: {{ $name }}, action: keep}
  - {source_labels: [__meta_kubernetes_pod_ip], target_label: __address__, replacement: '$1:{{ $port }}'}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
{{- end }}
{{- end }}
{{- if $scrape.annotations }}
{{- range $slow := list false true }}
- job_name: kubernetes-pods{{ if $slow }}-slow{{ end }}
  honor_labels: true
  {{- if $slow }}
  scrape_interval: 5m
  scrape_timeout: 30s
  {{- end }}
  kubernetes_sd_configs: [{role: pod}]
  relabel_configs:
  {{- include "obs.annotated" (dict "kind" "pod" "slow" $slow) | nindent 2 }}
  - {source_labels: [__meta_kubernetes_pod_phase], regex: Pending|Succeeded|Failed|Completed, action: drop}
  - {source_labels: [__meta_kubernetes_pod_container_init], regex: 'true', action: drop}
- job_name: kubernetes-service-endpoints{{ if $slow }}-slow{{ end }}
  honor_labels: true
  {{- if $slow }}
  scrape_interval: 5m
  scrape_timeout: 30s
  {{- end }}
  kubernetes_sd_configs: [{role: endpointslice}]
  relabel_configs:
  {{- include "obs.annotated" (dict "kind" "service" "slow" $slow) | nindent 2 }}
  - {source_labels: [__meta_kubernetes_service_name], target_label: service}
  {{- if $scrape.coreDns }}
  - {source_labels: [__meta_kubernetes_namespace, __meta_kubernetes_service_label_k8s_app], regex: kube-system;kube-dns, action: drop}
  {{- end }}
{{- end }}
{{- end }}
{{- if eq .Values.kubeState.mode "deployment" }}
- job_name: kube-state-metrics
  honor_labels: true
  static_configs:
  - targets:
    {{- range list 8080 8081 }}
    - {{ include "obs.fullname" $ }}-kube-state.{{ $.Release.Namespace }}.svc:{{ . }}
    {{- end }}
{{- end }}
{{- with .Values.server.extraScrapeConfigs }}
{{ toYaml . }}
{{- end }}
obs:
  storage:
    retention_bytes: {{ int64 .Values.server.retentionBytes }}
    memory_bytes: {{ int64 .Values.server.memoryBytes }}
  limits:
    query_bytes_max: {{ int64 .Values.server.queryBytes }}
  kubernetes:
    pods: {}
    {{- if .Values.server.events }}
    events: {}
    {{- end }}
    {{- if $scrape.monitors }}
    monitors: {}
    {{- end }}
    {{- if eq .Values.kubeState.mode "server" }}
    kube_state:
      resources: {{ toJson .Values.kubeState.resources }}
      labels_allow_list: {{ toJson .Values.kubeState.labelsAllowList }}
      annotations_allow_list: {{ toJson .Values.kubeState.annotationsAllowList }}
    {{- end }}
  rules:
    bundled: {{ .Values.server.rules.bundled }}
    disable: {{ toJson .Values.server.rules.disable }}
  {{- if or .Values.server.alertmanager .Values.server.alertmanagerSecret }}
  alertmanager_file: /etc/obs/alertmanager/alertmanager.yml
  {{- end }}
  telemetry:
    # The agent follows the log of the server as that of any other container.
    logs: {{ not (and .Values.agent.enabled .Values.agent.logs.enabled) }}
    traces: true
  {{- if .Values.resourceMetrics.enabled }}
  resource_metrics:
    listen: {{ .Values.server.listenHost }}:{{ .Values.resourceMetrics.port }}
    tls: {cert_file: /etc/obs/resource-metrics/tls.crt, key_file: /etc/obs/resource-metrics/tls.key}
  {{- end }}
{{- end }}

{{/* Rules for targets with annotations: .kind (pod, service) and .slow. */}}
{{- define "obs.annotated" -}}
{{- $has := printf "__meta_kubernetes_%s_annotation_prometheus_io" .kind }}
{{- if .slow }}
- {source_labels: [{{ $has }}_scrape_slow], regex: 'true', action: keep}
{{- else }}
- {source_labels: [{{ $has }}_scrape], regex: 'true', action: keep}
- {source_labels: [{{ $has }}_scrape_slow], regex: 'true', action: drop}
{{- end }}
- {source_labels: [{{ $has }}_scheme], regex: '(https?)', target_label: __scheme__}
- {source_labels: [{{ $has }}_path], regex: '(.+)', target_label: __metrics_path__}
{{- if eq .kind "pod" }}
- {source_labels: [{{ $has }}_port, __meta_kubernetes_pod_ip], regex: '(\d+);([^:]+)', replacement: '$2:$1', target_label: __address__}
- {source_labels: [{{ $has }}_port, __meta_kubernetes_pod_ip], regex: '(\d+);(.*:.*)', replacement: '[$2]:$1', target_label: __address__}
{{- else }}
- {source_labels: [__address__, {{ $has }}_port], regex: '(.+?)(?::\d+)?;(\d+)', replacement: '$1:$2', target_label: __address__}
{{- end }}
- {action: labelmap, regex: '{{ $has }}_param_(.+)', replacement: __param_$1}
- {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
- {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
- {source_labels: [__meta_kubernetes_pod_node_name], target_label: node}
- {source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_name], target_label: app}
{{- end }}

{{/* The configuration of the agent. */}}
{{- define "obs.agent.config" -}}
{{- $written := include "obs.agent.written" . | fromYaml }}
{{- toYaml (mergeOverwrite $written (deepCopy .Values.agent.config)) }}
{{- end }}

{{- define "obs.agent.written" -}}
global:
  scrape_interval: {{ .Values.server.scrape.interval }}
scrape_configs: {{ toJson .Values.agent.extraScrapeConfigs }}
obs:
  kubernetes:
    pods: {}
  {{- if .Values.agent.nodeExporter.enabled }}
  node_exporter:
    # Any port that is free: nobody but the agent asks here.
    listen: 127.0.0.1:0
    path: {procfs: /host/proc, sysfs: /host/sys, rootfs: /host/root, udev_data: /host/root/run/udev/data}
    collectors: {{ toJson .Values.agent.nodeExporter.collectors }}
    flags:
      collector.filesystem.mount-points-exclude: ^/(dev|proc|sys|run/(k3s/)?containerd/.+|var/lib/docker/.+|var/lib/containers/storage/.+|var/lib/kubelet/(pods|plugins)/.+)($|/)
      collector.netclass.ignored-devices: ^(veth.*|cali.*|lxc.*|[a-f0-9]{15})$
      collector.netdev.device-exclude: ^(veth.*|cali.*|lxc.*|[a-f0-9]{15})$
  {{- end }}
  collector:
    {{- if .Values.agent.logs.enabled }}
    logs:
      pods:
        path: /var/log/pods
        exclude_namespaces: {{ toJson .Values.agent.logs.excludeNamespaces }}
        pod_labels: {{ toJson .Values.agent.logs.podLabels }}
    {{- end }}
    {{- if .Values.agent.redaction }}
    redaction: {builtin: true}
    {{- end }}
    {{- if .Values.agent.nodeProblems }}
    node_problems: {}
    {{- end }}
    buffer: {max_size: {{ .Values.agent.bufferSize }}}
    {{- if .Values.agent.destinations }}
    destinations: {{ toJson .Values.agent.destinations }}
    {{- else }}
    destinations:
    - obs: {url: '{{ include "obs.url" . }}'}
    {{- end }}
{{- end }}
