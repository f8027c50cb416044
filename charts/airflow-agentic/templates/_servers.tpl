{{- /*
The model servers as they are to be: each entry over modelServerDefaults, with what its card says where the card's
text is in project.cards. YAML of {servers: […]}; each has also `object` (the name of its objects), `component`,
`cardPath`, `cardText` and `inCard` (name and version of that text).
*/ -}}
{{- define "airflow-agentic.servers" -}}
{{- $root := . -}}
{{- $servers := list -}}
{{- range .Values.modelServers -}}
{{- $server := mergeOverwrite (deepCopy $root.Values.modelServerDefaults) (deepCopy .) -}}
{{- $text := get $root.Values.project.cards .card | default "" -}}
{{- $card := $text | fromYaml -}}
{{- $_ := set $server "cardText" $text -}}
{{- $_ := set $server "inCard" (dict "name" (get $card "name" | default "") "version" (get $card "version" | default "" | toString)) -}}
{{- $_ := set $server "version" ($server.version | default $server.inCard.version | toString) -}}
{{- $_ := set $server "image" ($server.image | default (get $card "image") | default "") -}}
{{- $wanted := get $card "resources" | default dict -}}
{{- if and $wanted (not $server.resources) -}}
{{- $amounts := dict -}}
{{- range $key := list "cpu" "memory" -}}
{{- with get $wanted $key }}{{ $_ := set $amounts $key (include "airflow-agentic.amount" .) }}{{ end -}}
{{- end -}}
{{- $limits := omit $amounts "cpu" -}}
{{- $_ := set $server "resources" (dict "requests" $amounts "limits" $limits) -}}
{{- end -}}
{{- $_ := set $server "gpu" ($server.gpu | default (get $wanted "gpu") | default 0) -}}
{{- $_ := set $server "cardPath" (isAbs .card | ternary .card (printf "/etc/airflow-agentic/models/%s" .card)) -}}
{{- $_ := set $server "object" (include "airflow-agentic.object" (dict "root" $root "model" .name "http" $server.http.enabled)) -}}
{{- $_ := set $server "component" ($server.http.enabled | ternary "http-model-server" "model-server") -}}
{{- $servers = append $servers $server -}}
{{- end -}}
{{- toYaml (dict "servers" $servers) -}}
{{- end -}}

{{- /* A card's amount of CPU or memory as Kubernetes writes it: a plain number of bytes stays whole, "1GiB" is "1Gi". */ -}}
{{- define "airflow-agentic.amount" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . | toString | nospace | trimSuffix "B" }}{{ end -}}
{{- end -}}

{{- /* FULLNAME-MODEL, or FULLNAME-MODEL-http, as the name of objects: no "_" and ".", at most 63 characters. */ -}}
{{- define "airflow-agentic.object" -}}
{{- $name := printf "%s-%s" (include "airflow-agentic.fullname" .root) (regexReplaceAll "[^a-z0-9]+" .model "-") -}}
{{- $suffix := .http | ternary "-http" "" -}}
{{- if gt (len $name) 52 }}{{ printf "%s-%s%s" (trunc 43 $name) (sha256sum .model | trunc 8) $suffix }}{{ else }}{{ $name }}{{ $suffix }}{{ end -}}
{{- end -}}

{{- /* {root, server} */ -}}
{{- define "airflow-agentic.serverSelector" -}}
{{ include "airflow-agentic.selector" (dict "root" .root "component" .server.component) }}
airflow-agentic/model: {{ include "airflow-agentic.label" .server.name | quote }}
{{- end -}}

{{- /* {root, server, template}: the template is that of an object's labels or of a pod's. */ -}}
{{- define "airflow-agentic.serverLabels" -}}
{{- $ours := include (printf "airflow-agentic.%s" .template) (dict "root" .root "component" .server.component) | fromYaml -}}
{{- $_ := set $ours "airflow-agentic/model" (include "airflow-agentic.label" .server.name) -}}
{{- $_ := set $ours "airflow-agentic/model-version" (include "airflow-agentic.label" .server.version) -}}
{{- toYaml (merge $ours .server.podLabels) -}}
{{- end -}}

{{- define "airflow-agentic.serverResources" -}}
{{- $resources := deepCopy .resources -}}
{{- if .gpu -}}
{{- $_ := set $resources "limits" (set ($resources.limits | default dict) .gpuResource (int .gpu)) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "airflow-agentic.socket" -}}/tmp/airflow-agentic.sock{{- end -}}

{{- /* {server, probe}: a server of HTTP lives also where its model cannot answer: it starts it anew itself. */ -}}
{{- define "airflow-agentic.probe" -}}
{{- if .server.http.enabled -}}
httpGet:
  path: {{ eq .probe "liveness" | ternary "/v2/health/live" (printf "/v2/models/%s/ready" .server.name) }}
  port: http
{{- else -}}
exec:
  command: [python, -m, airflow_agentic.runtime, ready, --socket, {{ include "airflow-agentic.socket" . }}]
{{- end }}
{{ toYaml (get .server.probes .probe) }}
{{- end -}}

{{- /* What the container runs: {root, server}. */ -}}
{{- define "airflow-agentic.serverCommand" -}}
{{- $server := .server -}}
{{- if $server.http.enabled -}}
command: [python, -m, airflow_agentic, serve]
args:
  - {{ $server.name | quote }}
  - --cards
  - {{ dir $server.cardPath | quote }}
  - --host=0.0.0.0
  - --port=8080
  {{- if $server.http.grpc }}
  - --grpc-port=8081
  {{- end }}
  - --workers={{ int $server.http.workers }}
  - --drain={{ int $server.http.drainSeconds }}
  {{- range $server.allow }}
  - --allow-handler
  - {{ . | quote }}
  {{- end }}
  {{- range $server.http.args }}
  - {{ . | quote }}
  {{- end }}
ports:
  - name: http
    containerPort: 8080
  {{- if $server.http.grpc }}
  - name: grpc
    containerPort: 8081
  {{- end }}
{{- else -}}
args:
  - warm
  - --card
  - {{ $server.cardPath | quote }}
  - --socket
  - {{ include "airflow-agentic.socket" .root }}
  {{- range $server.allow }}
  - --allow
  - {{ . | quote }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- /* MODEL=URL of every server of HTTP, by comma: AIRFLOW_AGENTIC_SERVICE_URL. */ -}}
{{- define "airflow-agentic.serviceUrls" -}}
{{- $urls := list -}}
{{- range (include "airflow-agentic.servers" . | fromYaml).servers -}}
{{- if .http.enabled -}}
{{- $urls = append $urls (printf "%s=http://%s.%s:8080" .name .object $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}
