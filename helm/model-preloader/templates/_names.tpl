{{/* Names, labels and images. */}}

{{- define "model-preloader.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that every suffix of ours, and a StatefulSet's own, still fits into 63. */}}
{{- define "model-preloader.fullname" -}}
{{- $name := include "model-preloader.name" . -}}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{- $full | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "model-preloader.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "model-preloader.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "model-preloader.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "model-preloader.selectorLabels" -}}
app.kubernetes.io/name: {{ include "model-preloader.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "model-preloader.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "model-preloader.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/component: {{ ternary "ollama" "preloader" .Values.ollama.enabled }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata of an object. Call with (list $ suffix labels annotations namespace). */}}
{{- define "model-preloader.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "model-preloader.fullname" $root }}{{ index . 1 }}
namespace: {{ index . 4 | default (include "model-preloader.namespace" $root) }}
labels:
  {{- include "model-preloader.labels" $root | nindent 2 }}
  {{- with index . 2 }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with index . 3 }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image. Call with (list image default-tag). */}}
{{- define "model-preloader.image" -}}
{{- $image := index . 0 -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default (index . 1) }}{{ end -}}
{{- end -}}
