{{- define "masthead.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "masthead.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "masthead.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "masthead.selector" . }}
{{- end }}

{{- define "masthead.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "masthead.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}{{ .Values.tls.existingSecret | default (printf "%s-tls" (include "masthead.name" .)) }}{{ else }}{{ .Values.tls.existingSecret }}{{ end }}
{{- end }}

{{/* The configuration with what the chart decides: where state is, where it answers probes, where rules lie. */}}
{{- define "masthead.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $_ := set $config "state_dir" "/var/lib/masthead" }}
{{- $_ := set $config "admin" (dict "listen" "0.0.0.0:9881") }}
{{- $rules := deepCopy (default (dict) $config.rules) }}
{{- if .Values.rules }}{{ $_ := set $rules "paths" (append (default (list) $rules.paths) "/etc/masthead/rules") }}{{ end }}
{{- if .Values.lists }}{{ $_ := set $rules "lists" (append (default (list) $rules.lists) "/etc/masthead/lists") }}{{ end }}
{{- if $rules }}{{ $_ := set $config "rules" $rules }}{{ end }}
{{- toYaml $config }}
{{- end }}

{{/* What would not start is refused here, where somebody reads it. */}}
{{- define "masthead.check" -}}
{{- range $name, $source := default (dict) .Values.config.sources }}
{{- if and (eq (default "" $source.type) "webhook") $source.tls }}
{{- if not (include "masthead.tlsSecret" $) }}{{ fail (printf "config.sources.%s has `tls`: set tls.existingSecret or tls.certManager.enabled" $name) }}{{ end }}
{{- if and $source.tls.client_ca_file (hasPrefix "/etc/masthead/client-ca/" $source.tls.client_ca_file) (not $.Values.clientCa.existingSecret) }}{{ fail (printf "config.sources.%s has `client_ca_file`: set clientCa.existingSecret, or set client_ca_file to null and use tokens" $name) }}{{ end }}
{{- end }}
{{- range default (list) $source.tokens }}
{{- if and (hasPrefix "/etc/masthead/tokens/" (default "" .sha256_file)) (not $.Values.tokens.existingSecret) }}{{ fail (printf "config.sources.%s has `tokens`: set tokens.existingSecret" $name) }}{{ end }}
{{- end }}
{{- if and (eq (default "" $source.type) "webhook") (not $source.tokens) (not (default (dict) $source.tls).client_ca_file) (not $source.insecure) }}{{ fail (printf "config.sources.%s would take events from anybody: set `tokens` or `tls.client_ca_file`, or `insecure: true`" $name) }}{{ end }}
{{- if and (eq (default "" $source.type) "webhook") (hasPrefix "127." (default "127." $source.listen)) }}{{ fail (printf "config.sources.%s listens on loopback, where no Service reaches it: set listen: 0.0.0.0:9880" $name) }}{{ end }}
{{- end }}
{{- end }}
