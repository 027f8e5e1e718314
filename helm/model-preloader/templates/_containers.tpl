{{/* The containers of the pod. */}}

{{/* The preloader: the same container as a native sidecar, as a plain container and in a pod of its own. */}}
{{- define "model-preloader.preloader" -}}
name: preloader
image: {{ include "model-preloader.image" (list .Values.image .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if include "model-preloader.native" . }}
restartPolicy: Always
{{- end }}
args: [run, --config, /etc/model-preloader/config.yaml]
{{- $env := concat (include "model-preloader.settings" . | fromYamlArray) .Values.extraEnv }}
{{- with $env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: preloader
    containerPort: {{ .Values.port }}
    protocol: TCP
# It runs: nothing more. Ollama starts after a native sidecar has passed this, so it must not wait for Ollama.
startupProbe:
  httpGet: {path: /-/healthy, port: {{ .Values.port }}}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /-/healthy, port: {{ .Values.port }}}
  {{- toYaml .Values.livenessProbe | nindent 2 }}
{{- if or .Values.sidecar.gate (not .Values.ollama.enabled) }}
readinessProbe:
  httpGet: {path: /-/ready, port: {{ .Values.port }}}
  {{- toYaml .Values.readinessProbe | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: config
    mountPath: /etc/model-preloader
    readOnly: true
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The settings of Ollama that the preloader takes its limits from, for both containers. */}}
{{- define "model-preloader.settings" -}}
{{- if .Values.ollama.enabled -}}
{{- range $name, $value := .Values.ollama.settings }}
- {name: {{ $name }}, value: {{ include "model-preloader.text" $value | quote }}}
{{- else }}[]
{{- end }}
{{- else }}[]
{{- end -}}
{{- end -}}

{{/* A value as text; a large whole number without an exponent. */}}
{{- define "model-preloader.text" -}}
{{- if kindIs "float64" . }}{{ if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{- define "model-preloader.ollama" -}}
{{- $o := .Values.ollama -}}
name: ollama
image: {{ include "model-preloader.image" (list $o.image "latest") | quote }}
imagePullPolicy: {{ $o.image.pullPolicy }}
env:
  - {name: OLLAMA_HOST, value: {{ printf "%s:%d" $o.host (int $o.port) | quote }}}
  - {name: OLLAMA_MODELS, value: /models}
  # Its key pair and the caches of the GPU libraries; the models are on their own volume.
  - {name: HOME, value: /tmp}
  {{- if $o.runnerMetrics }}
  # Inherited by the runners, whose token counters the preloader reads.
  - {name: LLAMA_ARG_ENDPOINT_METRICS, value: "1"}
  {{- end }}
  {{- with concat (include "model-preloader.settings" . | fromYamlArray) $o.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: http
    containerPort: {{ $o.port }}
    protocol: TCP
startupProbe:
  httpGet: {path: /, port: {{ $o.port }}}
  {{- toYaml $o.startupProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: /, port: {{ $o.port }}}
  {{- toYaml $o.livenessProbe | nindent 2 }}
readinessProbe:
  httpGet: {path: /, port: {{ $o.port }}}
  {{- toYaml $o.readinessProbe | nindent 2 }}
{{- if gt (int $o.preStopSeconds) 0 }}
# Ollama drops running answers when it is told to end. Meanwhile the pod has left its Services and they go on.
lifecycle:
  preStop:
    {{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
    sleep: {seconds: {{ $o.preStopSeconds }}}
    {{- else }}
    exec: {command: [sleep, {{ $o.preStopSeconds | quote }}]}
    {{- end }}
{{- end }}
resources:
  {{- $resources := deepCopy $o.resources }}
  {{- if $o.gpu.enabled }}
  {{- $_ := set $resources "limits" (merge (dict $o.gpu.resource $o.gpu.count) (default dict $resources.limits)) }}
  {{- end }}
  {{- toYaml $resources | nindent 2 }}
securityContext:
  {{- toYaml $o.securityContext | nindent 2 }}
volumeMounts:
  - name: models
    mountPath: /models
    {{- with $o.persistence.subPath }}
    subPath: {{ . }}
    {{- end }}
  - name: tmp
    mountPath: /tmp
  {{- with $o.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
Pulls what is missing through the Ollama of the pod, one model after the other. No init container: that would hold back
the models that are there. No postStart hook: that would hold back the whole pod, and a failing pull would kill Ollama.
It stays, so that the kubelet has nothing to restart, and a failed pull or a deleted model has its next turn.
*/}}
{{- define "model-preloader.puller" -}}
{{- $o := .Values.ollama -}}
name: pull
image: {{ include "model-preloader.image" (list $o.image "latest") | quote }}
imagePullPolicy: {{ $o.image.pullPolicy }}
{{- if include "model-preloader.native" . }}
restartPolicy: Always
{{- end }}
command: [sh, -c]
args:
  - |
    trap 'exit 0' TERM INT
    pause() { sleep "$1" & wait $!; }
    until ollama list >/dev/null 2>&1; do pause 1; done
    while :; do
      for model in "$@"; do
        ollama show "$model" >/dev/null 2>&1 && continue
        echo "pulling $model"
        ollama pull{{ if $o.pull.insecure }} --insecure{{ end }} "$model" >/tmp/pull.log 2>&1 & wait $!
        if [ $? = 0 ]; then echo "pulled $model"; else echo "pulling $model failed: $(tail -n 1 /tmp/pull.log)" >&2; fi
      done
      pause {{ $o.pull.intervalSeconds }}
    done
  - pull
  {{- range splitList "\n" (include "model-preloader.pulled" .) }}
  - {{ . | quote }}
  {{- end }}
env:
  - {name: OLLAMA_HOST, value: {{ include "model-preloader.localUrl" . | quote }}}
  - {name: HOME, value: /tmp}
resources:
  {{- toYaml $o.pull.resources | nindent 2 }}
securityContext:
  {{- toYaml $o.securityContext | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
{{- end -}}
