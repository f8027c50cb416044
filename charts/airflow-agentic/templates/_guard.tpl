{{- /* What guard.yaml refuses: each template gives a YAML list of messages. */ -}}

{{- define "airflow-agentic.guard.project" -}}
{{- $problems := list -}}
{{- range $map := list "cards" "workflows" -}}
{{- $existing := printf "existing%s" (title $map) -}}
{{- if and (get $.Values.project $map) (get $.Values.project $existing) -}}
{{- $problems = append $problems (printf "project.%s and project.%s are both set, and pods mount one ConfigMap: remove one of them" $map $existing) -}}
{{- end -}}
{{- if and $.Values.project.image (include "airflow-agentic.projectMap" (dict "root" $ "map" $map)) -}}
{{- $problems = append $problems (printf "project.image is set beside project.%s or project.%s, and pods take their project from one place: remove one of them" $map $existing) -}}
{{- end -}}
{{- end -}}
{{- $problems = concat $problems (include "airflow-agentic.guard.keys" (dict "at" "commonLabels" "map" .Values.commonLabels) | fromYamlArray) -}}
{{- toYaml $problems -}}
{{- end -}}

{{- /* Labels or annotations that are ours: {at, map}. */ -}}
{{- define "airflow-agentic.guard.keys" -}}
{{- $problems := list -}}
{{- range $key := keys .map | sortAlpha -}}
{{- if regexMatch "^(app.kubernetes.io/|airflow-agentic/|helm.sh/|kubectl.kubernetes.io/default-container$)" $key -}}
{{- $problems = append $problems (printf "%s has %q, which the chart sets: remove it" $.at $key) -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{- define "airflow-agentic.guard.servers" -}}
{{- $problems := list -}}
{{- $objects := dict -}}
{{- $mapped := include "airflow-agentic.projectMap" (dict "root" . "map" "cards") -}}
{{- range $index, $server := (include "airflow-agentic.servers" . | fromYaml).servers -}}
{{- $at := printf "modelServers[%d]" $index -}}
{{- if hasKey $objects .object -}}
{{- $problems = append $problems (printf "%s.name %q and %s give both the Deployment %q: a model has one server here, so raise its replicas, or use another release" $at .name (get $objects .object) .object) -}}
{{- end -}}
{{- $_ := set $objects .object $at -}}
{{- if not (isAbs .card) -}}
{{- if not (or $mapped $.Values.project.image) -}}
{{- $problems = append $problems (printf "%s.card is the file %q, but there are no cards: set project.cards, project.existingCards or project.image, or an absolute path in the image" $at .card) -}}
{{- else if and $.Values.project.cards (not (hasKey $.Values.project.cards .card)) -}}
{{- $problems = append $problems (printf "%s.card %q is not in project.cards, which has %s: add it, or correct the name" $at .card (keys $.Values.project.cards | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- if and .cardText (not .inCard.name) -}}
{{- $problems = append $problems (printf "project.cards has no name in %q: it is not a model card" .card) -}}
{{- else if and .inCard.name (ne .inCard.name .name) -}}
{{- $problems = append $problems (printf "%s.name is %q, but the card %q names its model %q: Airflow finds pods by that name, so write name: %s" $at .name .card .inCard.name .inCard.name) -}}
{{- end -}}
{{- if and .inCard.version (ne .inCard.version .version) -}}
{{- $problems = append $problems (printf "%s.version is %q, but the card %q says %q: remove version" $at .version .card .inCard.version) -}}
{{- else if not .version -}}
{{- $problems = append $problems (printf "%s.version is missing, and the text of the card is not in project.cards: write the card's version" $at) -}}
{{- end -}}
{{- if not .image -}}
{{- $problems = append $problems (printf "%s.image is empty, and neither modelServerDefaults nor a card in project.cards has an image: set one" $at) -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{- define "airflow-agentic.guard.pods" -}}
{{- $problems := list -}}
{{- range $index, $server := (include "airflow-agentic.servers" . | fromYaml).servers -}}
{{- $at := printf "modelServers[%d]" $index -}}
{{- $limits := .resources.limits | default dict -}}
{{- $requests := .resources.requests | default dict -}}
{{- if and .gpu (hasKey $limits .gpuResource) -}}
{{- $problems = append $problems (printf "%s.gpu and %s.resources.limits[%q] both ask for GPUs: remove one of them" $at $at .gpuResource) -}}
{{- end -}}
{{- if .autoscaling.enabled -}}
{{- if not (or (hasKey $requests "cpu") (hasKey $limits "cpu")) -}}
{{- $problems = append $problems (printf "%s.autoscaling.enabled needs to know the CPU a pod asks for: set resources.requests.cpu" $at) -}}
{{- end -}}
{{- if gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas) -}}
{{- $problems = append $problems (printf "%s.autoscaling.minReplicas %d is more than maxReplicas %d: raise maxReplicas" $at (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and .files.existingClaim .files.fetch -}}
{{- $problems = append $problems (printf "%s.files.existingClaim and %s.files.fetch are both set, and /models is one volume: remove one of them" $at $at) -}}
{{- end -}}
{{- if and .files.fetch (not $.Values.artifacts.uri) -}}
{{- $problems = append $problems (printf "%s.files.fetch needs the store to fetch from: set artifacts.uri" $at) -}}
{{- end -}}
{{- range .volumes -}}
{{- if hasKey . "hostPath" -}}
{{- $problems = append $problems (printf "%s.volumes has the hostPath %q, which pod security \"restricted\" forbids: make a PersistentVolume of it, and name its claim" $at .name) -}}
{{- end -}}
{{- end -}}
{{- $problems = concat $problems (include "airflow-agentic.guard.env" (dict "at" $at "env" .env) | fromYamlArray) -}}
{{- range $map := list "podLabels" "podAnnotations" -}}
{{- $problems = concat $problems (include "airflow-agentic.guard.keys" (dict "at" (printf "%s.%s" $at $map) "map" (get $server $map)) | fromYamlArray) -}}
{{- end -}}
{{- end -}}
{{- range $component := list "gateway" "worker" -}}
{{- $problems = concat $problems (include "airflow-agentic.guard.env" (dict "at" $component "env" (get $.Values $component).env) | fromYamlArray) -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{- /* Credentials in clear would lie in the release and in every pod's description: {at, env}. */ -}}
{{- define "airflow-agentic.guard.env" -}}
{{- $problems := list -}}
{{- range .env -}}
{{- if and (hasKey . "value") (regexMatch "(SECRET|PASSWORD|ACCESS_KEY|API_KEY|(^|_)TOKEN$)" (upper .name)) -}}
{{- $problems = append $problems (printf "%s.env has the value of %s in clear: put it into a Secret, and write valueFrom.secretKeyRef" $.at .name) -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{- define "airflow-agentic.guard.access" -}}
{{- $problems := list -}}
{{- if and .Values.airflow.rbac.create (not (or (include "airflow-agentic.airflowAccount" .) .Values.airflow.serviceAccounts)) -}}
{{- $problems = append $problems "airflow.rbac.create gives rights to nobody: set airflow.serviceAccount.create or name, or list airflow.serviceAccounts" -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{- define "airflow-agentic.guard.stores" -}}
{{- $problems := list -}}
{{- $store := .Values.artifacts.persistence -}}
{{- $uri := .Values.artifacts.uri -}}
{{- if and $store.existingClaim (not $store.enabled) -}}
{{- $problems = append $problems "artifacts.persistence.existingClaim is set, but no pod mounts it: set artifacts.persistence.enabled" -}}
{{- end -}}
{{- $mounted := printf "file://%s" (trimSuffix "/" $store.mountPath) -}}
{{- if and (hasPrefix "file:" $uri) (not $store.enabled) -}}
{{- $problems = append $problems (printf "artifacts.uri %q is a folder of each pod alone: set artifacts.persistence.enabled, or the URI of a bucket" $uri) -}}
{{- else if and $store.enabled $uri (ne $uri $mounted) (not (hasPrefix (printf "%s/" $mounted) $uri)) -}}
{{- $problems = append $problems (printf "artifacts.uri %q is not in the volume of artifacts.persistence: write %s, or disable the volume" $uri $mounted) -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{- define "airflow-agentic.guard.http" -}}
{{- $problems := list -}}
{{- range $index, $server := (include "airflow-agentic.servers" . | fromYaml).servers -}}
{{- $at := printf "modelServers[%d]" $index -}}
{{- if and .http.enabled (le (int .terminationGracePeriodSeconds) (int .http.drainSeconds)) -}}
{{- $problems = append $problems (printf "%s.terminationGracePeriodSeconds %d ends the pod within http.drainSeconds %d, while it still answers: raise it" $at (int .terminationGracePeriodSeconds) (int .http.drainSeconds)) -}}
{{- end -}}
{{- if and (not .http.enabled) (or .http.grpc .http.args (gt (int .http.workers) 1)) -}}
{{- $problems = append $problems (printf "%s.http is set, but http.enabled is false: set it" $at) -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{- define "airflow-agentic.guard.gateway" -}}
{{- $problems := list -}}
{{- $gateway := .Values.gateway -}}
{{- if $gateway.enabled -}}
{{- $ways := 0 -}}
{{- range $way := list $gateway.tokens.file $gateway.tokens.existingSecret $gateway.jwt.jwks -}}
{{- if $way }}{{ $ways = add1 $ways }}{{ end -}}
{{- end -}}
{{- if ne (int $ways) 1 -}}
{{- $problems = append $problems (printf "gateway.tokens.file, gateway.tokens.existingSecret and gateway.jwt.jwks say who may ask, and %d of them are set: set one" (int $ways)) -}}
{{- end -}}
{{- if and $gateway.jwt.jwks (not (and $gateway.jwt.issuer $gateway.jwt.audience)) -}}
{{- $problems = append $problems "gateway.jwt.jwks is set without issuer and audience, and tokens made for others would be taken: set gateway.jwt.issuer and gateway.jwt.audience" -}}
{{- end -}}
{{- $pods := $gateway.autoscaling.enabled | ternary $gateway.autoscaling.maxReplicas $gateway.replicas | int -}}
{{- if and (gt $pods 1) (not $gateway.jobs.existingSecret) -}}
{{- $problems = append $problems (printf "gateway has up to %d pods, and each would know its own jobs only: set gateway.jobs.existingSecret, a Secret with the URL of a PostgreSQL, or run one pod" $pods) -}}
{{- end -}}
{{- if le (int $gateway.terminationGracePeriodSeconds) (add $gateway.drainDelaySeconds $gateway.drainSeconds | int) -}}
{{- $problems = append $problems (printf "gateway.terminationGracePeriodSeconds %d ends the pod before drainDelaySeconds and drainSeconds, together %d, are over: raise it" (int $gateway.terminationGracePeriodSeconds) (add $gateway.drainDelaySeconds $gateway.drainSeconds | int)) -}}
{{- end -}}
{{- if and $gateway.airflow.url (not (and $gateway.airflow.existingSecret .Values.artifacts.uri)) -}}
{{- $problems = append $problems "gateway.airflow.url needs a token, and the store where Dag runs leave their answers: set gateway.airflow.existingSecret and artifacts.uri" -}}
{{- end -}}
{{- range $limit := list "drain_delay_seconds" "drain_seconds" -}}
{{- if hasKey $gateway.limits $limit -}}
{{- $problems = append $problems (printf "gateway.limits has %s, which has a key of its own: set gateway.%s" $limit (eq $limit "drain_seconds" | ternary "drainSeconds" "drainDelaySeconds")) -}}
{{- end -}}
{{- end -}}
{{- if $gateway.autoscaling.enabled -}}
{{- if not (or (hasKey ($gateway.resources.requests | default dict) "cpu") (hasKey ($gateway.resources.limits | default dict) "cpu")) -}}
{{- $problems = append $problems "gateway.autoscaling.enabled needs to know the CPU a pod asks for: set gateway.resources.requests.cpu" -}}
{{- end -}}
{{- if gt (int $gateway.autoscaling.minReplicas) (int $gateway.autoscaling.maxReplicas) -}}
{{- $problems = append $problems (printf "gateway.autoscaling.minReplicas %d is more than maxReplicas %d: raise maxReplicas" (int $gateway.autoscaling.minReplicas) (int $gateway.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- range $gateway.volumes -}}
{{- if hasKey . "hostPath" -}}
{{- $problems = append $problems (printf "gateway.volumes has the hostPath %q, which pod security \"restricted\" forbids: make a PersistentVolume of it, and name its claim" .name) -}}
{{- end -}}
{{- end -}}
{{- $problems = concat $problems (include "airflow-agentic.guard.keys" (dict "at" "gateway.podAnnotations" "map" $gateway.podAnnotations) | fromYamlArray) -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{- define "airflow-agentic.guard.services" -}}
{{- $problems := list -}}
{{- $late := semverCompare "<0.3.0-0" .Chart.AppVersion -}}
{{- if and .Values.worker.enabled $late -}}
{{- $problems = append $problems (printf "worker.enabled is true, but airflow-agentic %s has no worker: it comes with 0.3.0, so set worker.enabled=false" .Chart.AppVersion) -}}
{{- end -}}
{{- range $component := list "gateway" "worker" -}}
{{- $service := get $.Values $component -}}
{{- if and $service.enabled (not (and $late (eq $component "worker"))) -}}
{{- if not $service.image -}}
{{- $problems = append $problems (printf "%s.image is empty: set an image with airflow-agentic" $component) -}}
{{- end -}}
{{- if not (or $.Values.project.image (include "airflow-agentic.projectMap" (dict "root" $ "map" "workflows"))) -}}
{{- $problems = append $problems (printf "%s.enabled is true, but there are no workflows: set project.workflows, project.existingWorkflows or project.image" $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled $late -}}
{{- $problems = append $problems (printf "serviceMonitor.enabled is true, but airflow-agentic %s has no metrics: they come with 0.3.0, so set serviceMonitor.enabled=false" .Chart.AppVersion) -}}
{{- else if and .Values.serviceMonitor.enabled (not .Values.gateway.enabled) -}}
{{- $problems = append $problems "serviceMonitor.enabled is true, but only the gateway has metrics: set gateway.enabled, or serviceMonitor.enabled=false" -}}
{{- end -}}
{{- if and .Values.prometheusRule.enabled (not .Values.modelServers) -}}
{{- $problems = append $problems "prometheusRule.enabled is true, but there is nothing to watch: add modelServers, or set prometheusRule.enabled=false" -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}
