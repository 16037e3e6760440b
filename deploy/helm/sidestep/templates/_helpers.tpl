{{- define "sidestep.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* What every object has. Given the root and the part that it belongs to. */}}
{{- define "sidestep.labels" -}}
{{ include "sidestep.selector" . }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- /* What pods are found by, and what must never change. */}}
{{- define "sidestep.selector" -}}
app.kubernetes.io/name: sidestep
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "sidestep.webhook.secret" -}}
{{ eq .Values.webhook.tls.source "secret" | ternary .Values.webhook.tls.secretName "sidestep-webhook-tls" }}
{{- end }}
