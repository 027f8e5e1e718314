{{/* What follows from the values and the cluster. Each gives a text; empty is no. */}}

{{/* Native sidecar or plain container. */}}
{{- define "model-preloader.native" -}}
{{- if and .Values.ollama.enabled (ne (toString .Values.sidecar.native) "false") -}}
{{- if semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* The least number of pods that there will be. */}}
{{- define "model-preloader.leastPods" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicaCount .Values.autoscaling.enabled | int -}}
{{- end -}}

{{/* `readiness.scope` in force: the one given, else `startup` where a closed gate would leave no endpoint at all. */}}
{{- define "model-preloader.scope" -}}
{{- $given := dig "readiness" "scope" "" .Values.config -}}
{{- $alone := and .Values.ollama.enabled (le (include "model-preloader.leastPods" . | int) 1) -}}
{{- $given | default (ternary "startup" "continuous" $alone) -}}
{{- end -}}

{{/* Whether the models' volume can be mounted by one node only. */}}
{{- define "model-preloader.oneNodeVolume" -}}
{{- $p := .Values.ollama.persistence -}}
{{- if and $p.enabled (not $p.volume) (not (has "ReadWriteMany" $p.accessModes)) (not (has "ReadOnlyMany" $p.accessModes)) -}}true{{- end -}}
{{- end -}}

{{/* Strategy of the Deployment, or update strategy of the StatefulSet. */}}
{{- define "model-preloader.strategy" -}}
{{- if .Values.updateStrategy -}}
{{- toYaml .Values.updateStrategy -}}
{{- else if not .Values.ollama.enabled -}}
{{/* Two preloaders of different configurations at one Ollama would work against each other. */ -}}
type: Recreate
{{- else if and (eq .Values.ollama.kind "Deployment") (or .Values.ollama.gpu.enabled (include "model-preloader.oneNodeVolume" .)) -}}
{{/* A new pod would wait for the GPU or the volume that the old one holds until the new one is ready: for ever. */ -}}
type: Recreate
{{- else -}}
type: RollingUpdate
{{- end -}}
{{- end -}}

{{/* Kind and API of a monitoring object to make, or nothing. Call with (list $ kind enabled). */}}
{{- define "model-preloader.wanted" -}}
{{- $root := index . 0 -}}
{{- $enabled := toString (index . 2) -}}
{{- if eq $enabled "true" -}}true
{{- else if eq $enabled "auto" -}}
{{- if $root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" (index . 1)) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* The models to pull, one a line: those declared, but for those that say `pull: never`. */}}
{{- define "model-preloader.pulled" -}}
{{- $names := .Values.ollama.pull.models -}}
{{- if and (not $names) (not .Values.existingConfigMap) -}}
{{- range .Values.config.models -}}
{{- if ne (toString .pull) "never" }}{{ $names = append $names .model }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | join "\n" -}}
{{- end -}}

{{/* Address of Ollama as the preloader sees it from the same pod. Not `localhost`: that may be ::1 first. */}}
{{- define "model-preloader.localUrl" -}}
{{- printf "http://%s:%d" (ternary "[::1]" "127.0.0.1" (hasPrefix "[" .Values.ollama.host)) (int .Values.ollama.port) -}}
{{- end -}}

{{- define "model-preloader.configMapName" -}}
{{- .Values.existingConfigMap | default (include "model-preloader.fullname" .) -}}
{{- end -}}

{{/* The configuration file. */}}
{{- define "model-preloader.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.ollama.enabled -}}
{{- $_ := set $config "servers" (list (dict "name" "ollama" "url" (include "model-preloader.localUrl" .))) -}}
{{- else if .Values.ollama.url -}}
{{- $_ := set $config "servers" (list (dict "name" "ollama" "url" .Values.ollama.url)) -}}
{{- end -}}
{{- $_ := set $config "http" (merge (dict "listen" (printf "%s:%d" .Values.listenAddress (int .Values.port))) (default dict $config.http)) -}}
{{- $_ := set $config "readiness" (merge (dict "scope" (include "model-preloader.scope" .)) (default dict $config.readiness)) -}}
{{- with $config.models -}}
models:
  {{- toYaml . | nindent 2 }}
{{ end -}}
{{- toYaml (omit $config "models") -}}
{{- end -}}

{{/* Everything that the configuration map holds. */}}
{{- define "model-preloader.configData" -}}
config.yaml: |
  {{- include "model-preloader.config" . | nindent 2 }}
{{- range $name, $content := .Values.configFiles }}
{{ $name }}: |
  {{- $content | nindent 2 }}
{{- end }}
{{- end -}}
