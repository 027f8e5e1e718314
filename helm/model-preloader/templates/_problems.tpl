{{/*
What a schema cannot say: values that contradict each other or the cluster. All problems are told at once, each in a
sentence that begins with the key and ends with the way out.
*/}}
{{- define "model-preloader.check" -}}
{{- $p := list -}}
{{- $o := .Values.ollama -}}
{{- $config := .Values.config -}}
{{- if $o.enabled -}}
  {{- if $o.url -}}{{- $p = append $p (printf "ollama.url: %q belongs to an existing Ollama, but ollama.enabled is true, so Ollama runs in the pod; set ollama.enabled=false to watch the existing one, or leave ollama.url empty." $o.url) -}}{{- end -}}
  {{- if $config.servers -}}{{- $p = append $p "config.servers: the chart sets it to the Ollama in the pod while ollama.enabled is true; set ollama.enabled=false to watch other servers, or leave config.servers out." -}}{{- end -}}
  {{- if ge (int $o.preStopSeconds) (int .Values.terminationGracePeriodSeconds) -}}{{- $p = append $p (printf "ollama.preStopSeconds: %d is not shorter than terminationGracePeriodSeconds, %d, so Ollama would be killed before it is told to end; raise terminationGracePeriodSeconds or lower ollama.preStopSeconds." (int $o.preStopSeconds) (int .Values.terminationGracePeriodSeconds)) -}}{{- end -}}
  {{- if eq (int $o.port) (int .Values.port) -}}{{- $p = append $p (printf "ollama.port: %d is also the preloader's port; change ollama.port or port." (int $o.port)) -}}{{- end -}}
  {{- if and $o.pull.enabled .Values.existingConfigMap (not $o.pull.models) -}}{{- $p = append $p "ollama.pull.models: with existingConfigMap the chart does not know the models; list them in ollama.pull.models, or set ollama.pull.enabled=false." -}}{{- end -}}
  {{- $p = concat $p (include "model-preloader.checkStorage" . | fromJsonArray) -}}
  {{- $p = concat $p (include "model-preloader.checkSettings" . | fromJsonArray) -}}
{{- else -}}
  {{- if and (not $o.url) (not $config.servers) (not .Values.existingConfigMap) -}}{{- $p = append $p "ollama.url: needed while ollama.enabled is false, such as http://ollama.default.svc:11434; several servers go into config.servers." -}}{{- end -}}
  {{- if and $o.url $config.servers -}}{{- $p = append $p "config.servers: given together with ollama.url; keep one of them." -}}{{- end -}}
  {{- if gt (int .Values.replicaCount) 1 -}}{{- $p = append $p (printf "replicaCount: %d preloaders for the same Ollama would do everything %d times; set replicaCount=1 while ollama.enabled is false." (int .Values.replicaCount) (int .Values.replicaCount)) -}}{{- end -}}
  {{- if .Values.autoscaling.enabled -}}{{- $p = append $p "autoscaling.enabled: only pods with Ollama in them can be scaled; set it to false while ollama.enabled is false." -}}{{- end -}}
  {{- if .Values.podDisruptionBudget.enabled -}}{{- $p = append $p "podDisruptionBudget.enabled: a single preloader needs no budget, and one would hold up the draining of its node; set it to false while ollama.enabled is false." -}}{{- end -}}
{{- end -}}
{{- $p = concat $p (include "model-preloader.checkPreloader" . | fromJsonArray) -}}
{{- $p = concat $p (include "model-preloader.checkMonitoring" . | fromJsonArray) -}}
{{- with $p -}}{{- fail (printf "\n\nThe values of %s cannot be used:\n- %s\n" $.Chart.Name (join "\n- " .)) -}}{{- end -}}
{{- end -}}

{{- define "model-preloader.checkPreloader" -}}
{{- $p := list -}}
{{- if and (eq (toString .Values.sidecar.native) "true") (not (semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version)) -}}{{- $p = append $p (printf "sidecar.native: true needs Kubernetes 1.29, this cluster has %s; use auto or false." .Capabilities.KubeVersion.Version) -}}{{- end -}}
{{- if dig "http" "listen" "" .Values.config -}}{{- $p = append $p "config.http.listen: the chart sets it, because probes and Services must know the port; use listenAddress and port instead." -}}{{- end -}}
{{- if hasKey .Values.configFiles "config.yaml" -}}{{- $p = append $p "configFiles: config.yaml is the configuration itself; use config for it, or give the file another name." -}}{{- end -}}
{{- if and .Values.existingConfigMap .Values.configFiles -}}{{- $p = append $p "configFiles: goes into the chart's own ConfigMap, which existingConfigMap replaces; put the files into that one." -}}{{- end -}}
{{- if and (not .Values.config.models) (not .Values.existingConfigMap) -}}{{- $p = append $p "config.models: empty; declare at least one model, such as config.models[0].model=tinyllama." -}}{{- end -}}
{{- range $i, $e := .Values.extraEnv -}}
  {{- if eq $e.name "OLLAMA_URL" -}}{{- $p = append $p (printf "extraEnv[%d].name: OLLAMA_URL is the chart's to set; use ollama.url with ollama.enabled=false." $i) -}}{{- end -}}
{{- end -}}
{{- range $key := list "commonLabels" "podLabels" -}}
  {{- range $label, $_ := get $.Values $key -}}
    {{- if or (has $label (list "helm.sh/chart" "model-preloader/service")) (hasPrefix "app.kubernetes.io/" $label) -}}{{- $p = append $p (printf "%s.%s: the chart sets this label; choose another name." $key $label) -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $statefulSet := and .Values.ollama.enabled (eq .Values.ollama.kind "StatefulSet") -}}
{{- $type := .Values.updateStrategy.type | default "" -}}
{{- if and $statefulSet (eq $type "Recreate") -}}{{- $p = append $p "updateStrategy.type: a StatefulSet knows no Recreate (it ends a pod before it makes the new one anyway); use RollingUpdate or OnDelete." -}}{{- end -}}
{{- if and (not $statefulSet) (eq $type "OnDelete") -}}{{- $p = append $p "updateStrategy.type: a Deployment knows no OnDelete; use RollingUpdate or Recreate." -}}{{- end -}}
{{- $seen := dict -}}
{{- range $i, $m := .Values.config.models -}}
  {{- $name := lower $m.model -}}
  {{- if not (contains ":" (base $name)) -}}{{- $name = printf "%s:latest" $name -}}{{- end -}}
  {{- if hasKey $seen $name -}}{{- $p = append $p (printf "config.models[%d].model: %q is the same model as config.models[%d]; remove one." $i $m.model (get $seen $name | int)) -}}{{- else -}}{{- $_ := set $seen $name $i -}}{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}{{- $p = append $p (printf "autoscaling.minReplicas: %d is more than autoscaling.maxReplicas, %d." (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}{{- end -}}
{{- if and .Values.autoscaling.enabled .Values.ollama.enabled (not .Values.autoscaling.metrics) (not (dig "requests" "cpu" "" .Values.ollama.resources)) -}}{{- $p = append $p "autoscaling.metrics: scaling by Ollama's CPU needs ollama.resources.requests.cpu; set it, or give autoscaling.metrics." -}}{{- end -}}
{{- toJson $p -}}
{{- end -}}

{{- define "model-preloader.checkStorage" -}}
{{- $p := list -}}
{{- $s := .Values.ollama.persistence -}}
{{- if and $s.existingClaim $s.volume -}}{{- $p = append $p "ollama.persistence.volume: given together with ollama.persistence.existingClaim; keep one of them." -}}{{- end -}}
{{- if and (not $s.enabled) (or $s.existingClaim $s.volume) -}}{{- $p = append $p (printf "ollama.persistence.enabled: false, but ollama.persistence.%s is given; set enabled to true, or leave the other out." (ternary "existingClaim" "volume" (ne $s.existingClaim ""))) -}}{{- end -}}
{{- $pods := ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled | int -}}
{{- $shared := or (eq .Values.ollama.kind "Deployment") $s.existingClaim -}}
{{- if and (include "model-preloader.oneNodeVolume" .) $shared (gt $pods 1) -}}{{- $p = append $p (printf "ollama.persistence.accessModes: %d pods would share one volume that only one node can mount; use ollama.kind=StatefulSet without existingClaim (a volume for each pod), a ReadWriteMany volume, or one replica." $pods) -}}{{- end -}}
{{- toJson $p -}}
{{- end -}}

{{- define "model-preloader.checkSettings" -}}
{{- $p := list -}}
{{- range $name, $value := .Values.ollama.settings -}}
  {{- if has $name (list "OLLAMA_HOST" "OLLAMA_MODELS" "OLLAMA_URL") -}}{{- $p = append $p (printf "ollama.settings.%s: the chart sets it; use %s instead." $name (get (dict "OLLAMA_HOST" "ollama.host and ollama.port" "OLLAMA_MODELS" "ollama.persistence" "OLLAMA_URL" "ollama.enabled=false with ollama.url") $name)) -}}{{- end -}}
{{- end -}}
{{- $limit := get .Values.ollama.settings "OLLAMA_MAX_LOADED_MODELS" | default 0 | int -}}
{{- $required := 0 -}}
{{- range .Values.config.models -}}
  {{- if ne (toString (get . "required")) "false" -}}{{- $required = add1 $required -}}{{- end -}}
{{- end -}}
{{- $policy := dig "readiness" "policy" "all" .Values.config -}}
{{- if and (gt $limit 0) (gt (int $required) $limit) (eq (toString $policy) "all") (not .Values.existingConfigMap) -}}{{- $p = append $p (printf "ollama.settings.OLLAMA_MAX_LOADED_MODELS: %d, but config.models declares %d required models, so they could never be resident at the same time and the gate would never open; raise it, declare fewer, or mark some with required: false." $limit (int $required)) -}}{{- end -}}
{{- toJson $p -}}
{{- end -}}

{{- define "model-preloader.checkMonitoring" -}}
{{- $p := list -}}
{{- $m := .Values.monitoring -}}
{{- range $key, $kind := dict "podMonitor" "PodMonitor" "serviceMonitor" "ServiceMonitor" "prometheusRule" "PrometheusRule" -}}
  {{- if and (eq (toString (get $m $key).enabled) "true") (not ($.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" $kind))) -}}{{- $p = append $p (printf "monitoring.%s.enabled: true, but the cluster does not know monitoring.coreos.com/v1 %s; install the Prometheus Operator's CRDs first, or use auto or false. Without a cluster (helm template) add --api-versions monitoring.coreos.com/v1/%s." $key $kind $kind) -}}{{- end -}}
{{- end -}}
{{- if and (eq (toString $m.podMonitor.enabled) "true") (ne (toString $m.serviceMonitor.enabled) "false") -}}{{- $p = append $p "monitoring.serviceMonitor.enabled: every series would exist twice together with monitoring.podMonitor.enabled; set one of them to false." -}}{{- end -}}
{{- if and .Values.ollama.enabled (ne (toString $m.serviceMonitor.enabled) "false") (eq .Values.ollama.kind "Deployment") (not .Values.adminService.enabled) -}}{{- $p = append $p "adminService.enabled: the ServiceMonitor scrapes through this Service; enable it, or use monitoring.podMonitor." -}}{{- end -}}
{{- toJson $p -}}
{{- end -}}
