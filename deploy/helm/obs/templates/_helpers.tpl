{{- define "obs.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "obs.url" -}}
http://{{ include "obs.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.server.service.port }}
{{- end }}

{{- define "obs.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* Labels that select the pods of a component: (list . "server"). */}}
{{- define "obs.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: obs
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels and annotations of an object: (list . "server"). */}}
{{- define "obs.metadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "obs.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  {{- with $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container has that needs nothing of its node. */}}
{{- define "obs.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "obs.unprivileged" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What a pod's scheduling has, of .nodeSelector, .tolerations, .affinity, .priorityClassName. */}}
{{- define "obs.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* The API group of each resource that kube-state may watch. */}}
{{- define "obs.kubeState.groups" -}}
'': [configmaps, endpoints, limitranges, namespaces, nodes, persistentvolumeclaims, persistentvolumes, pods, replicationcontrollers, resourcequotas, secrets, serviceaccounts, services]
admissionregistration.k8s.io: [mutatingadmissionpolicies, mutatingadmissionpolicybindings, mutatingwebhookconfigurations, validatingadmissionpolicies, validatingadmissionpolicybindings, validatingwebhookconfigurations]
apps: [daemonsets, deployments, replicasets, statefulsets]
autoscaling: [horizontalpodautoscalers]
batch: [cronjobs, jobs]
certificates.k8s.io: [certificatesigningrequests]
coordination.k8s.io: [leases]
discovery.k8s.io: [endpointslices]
networking.k8s.io: [ingressclasses, ingresses, networkpolicies]
policy: [poddisruptionbudgets]
rbac.authorization.k8s.io: [clusterrolebindings, clusterroles, rolebindings, roles]
storage.k8s.io: [storageclasses, volumeattachments]
{{- end }}

{{- define "obs.kubeState.rules" -}}
{{- $wanted := .Values.kubeState.resources }}
{{- range $group, $names := include "obs.kubeState.groups" . | fromYaml }}
{{- $granted := list }}
{{- range $names }}
{{- if has . $wanted }}{{ $granted = append $granted . }}{{ end }}
{{- end }}
{{- if $granted }}
- apiGroups: [{{ $group | quote }}]
  resources:
  {{- toYaml $granted | nindent 2 }}
  verbs: [list, watch]
{{- end }}
{{- end }}
{{- end }}

{{/* pods=[app,team],nodes=[*] */}}
{{- define "obs.kubeState.lists" -}}
{{- $lists := list }}
{{- range $resource, $names := . }}
{{- $lists = append $lists (printf "%s=[%s]" $resource (join "," $names)) }}
{{- end }}
{{- join "," $lists }}
{{- end }}
