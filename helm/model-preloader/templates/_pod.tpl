{{/* The pod, for all kinds of workload. */}}
{{- define "model-preloader.pod" -}}
{{- $ollama := .Values.ollama.enabled -}}
{{- $native := include "model-preloader.native" . -}}
{{- $pull := and $ollama .Values.ollama.pull.enabled (include "model-preloader.pulled" .) -}}
metadata:
  labels:
    {{- include "model-preloader.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/component: {{ ternary "ollama" "preloader" $ollama }}
    {{- with merge (dict) .Values.podLabels .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ ternary "ollama" "preloader" $ollama }}
    {{- if not .Values.existingConfigMap }}
    # The preloader reads its configuration at start: a change of it makes new pods.
    checksum/config: {{ include "model-preloader.configData" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "model-preloader.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Else a Service called `model-preloader` would put variables into the preloader's environment.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- if or .Values.extraInitContainers $native }}
  initContainers:
    {{- with .Values.extraInitContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if $native }}
    - {{ include "model-preloader.preloader" . | nindent 6 | trim }}
    {{- if $pull }}
    - {{ include "model-preloader.puller" . | nindent 6 | trim }}
    {{- end }}
    {{- end }}
  {{- end }}
  containers:
    {{- if $ollama }}
    - {{ include "model-preloader.ollama" . | nindent 6 | trim }}
    {{- end }}
    {{- if not $native }}
    - {{ include "model-preloader.preloader" . | nindent 6 | trim }}
    {{- if $pull }}
    - {{ include "model-preloader.puller" . | nindent 6 | trim }}
    {{- end }}
    {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "model-preloader.configMapName" . }}
    {{- if $ollama }}
    - name: tmp
      emptyDir: {}
    {{- with include "model-preloader.modelsVolume" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" "runtimeClassName" "hostAliases" }}
  {{- with get $.Values $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* Where the models are. Nothing for a StatefulSet's own claims: those are its volumeClaimTemplates. */}}
{{- define "model-preloader.modelsVolume" -}}
{{- $s := .Values.ollama.persistence -}}
{{- if not $s.enabled -}}
- name: models
  emptyDir: {}
{{- else if $s.volume -}}
- name: models
  {{- toYaml $s.volume | nindent 2 }}
{{- else if or $s.existingClaim (eq .Values.ollama.kind "Deployment") -}}
- name: models
  persistentVolumeClaim:
    claimName: {{ $s.existingClaim | default (printf "%s-models" (include "model-preloader.fullname" .)) }}
{{- end -}}
{{- end -}}

{{- define "model-preloader.claimSpec" -}}
{{- $s := .Values.ollama.persistence -}}
accessModes:
  {{- toYaml $s.accessModes | nindent 2 }}
{{- with $s.storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ $s.size }}
{{- end -}}
