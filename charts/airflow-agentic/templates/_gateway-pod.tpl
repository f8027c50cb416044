{{- /* Parts of the gateway's pod, each of the root. */ -}}

{{- /* Cards and workflows start it anew where their text is in the values; tokens it reads anew itself. */ -}}
{{- define "airflow-agentic.gatewayAnnotations" -}}
{{- $project := .Values.project -}}
{{- $ours := dict "airflow-agentic/project-sha256" (sha256sum (printf "%s%s" (toJson $project.cards) (toJson $project.workflows))) -}}
{{- toYaml (merge $ours .Values.gateway.podAnnotations) -}}
{{- end -}}

{{- define "airflow-agentic.gatewayArguments" -}}
{{- $gateway := .Values.gateway -}}
- --project=/etc/airflow-agentic
- --host=0.0.0.0
- --port=8000
{{- range $gateway.workflows }}
- --workflow
- {{ . | quote }}
{{- end }}
{{- range $gateway.allow }}
- --allow-handler
- {{ . | quote }}
{{- end }}
{{- range $gateway.allowUris }}
- --allow-uri
- {{ . | quote }}
{{- end }}
- --limit=drain_delay_seconds={{ int $gateway.drainDelaySeconds }}
- --limit=drain_seconds={{ int $gateway.drainSeconds }}
{{- range $limit, $value := $gateway.limits }}
- {{ printf "--limit=%s=%s" $limit $value | quote }}
{{- end }}
{{- with $gateway.jwt }}
{{- if .jwks }}
- {{ printf "--jwks=%s" .jwks | quote }}
- {{ printf "--issuer=%s" .issuer | quote }}
- {{ printf "--audience=%s" .audience | quote }}
{{- else }}
- --tokens=/etc/airflow-agentic-tokens/{{ include "airflow-agentic.tokensKey" $ }}
{{- end }}
{{- end }}
{{- with $gateway.airflow }}
{{- if .url }}
- {{ printf "--airflow-url=%s" .url | quote }}
- --airflow-token-file=/etc/airflow-agentic-airflow/{{ .key }}
- {{ printf "--artifacts=%s" $.Values.artifacts.uri | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "airflow-agentic.gatewayEnv" -}}
- name: AIRFLOW_AGENTIC_GATEWAY_JOBS
  {{- if .Values.gateway.jobs.existingSecret }}
  valueFrom:
    secretKeyRef:
      name: {{ .Values.gateway.jobs.existingSecret }}
      key: {{ .Values.gateway.jobs.key }}
  {{- else }}
  value: sqlite:////var/lib/airflow-agentic/jobs.db
  {{- end }}
{{- with include "airflow-agentic.serviceUrls" . }}
- name: AIRFLOW_AGENTIC_SERVICE_URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.gateway.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "airflow-agentic.tokensSecret" -}}
{{- .Values.gateway.tokens.existingSecret | default (printf "%s-gateway-tokens" (include "airflow-agentic.fullname" .)) -}}
{{- end -}}

{{- define "airflow-agentic.tokensKey" -}}
{{- .Values.gateway.tokens.existingSecret | empty | ternary "tokens.yaml" .Values.gateway.tokens.key -}}
{{- end -}}

{{- define "airflow-agentic.gatewayMounts" -}}
- name: tmp
  mountPath: /tmp
- name: jobs
  mountPath: /var/lib/airflow-agentic
{{- if not .Values.gateway.jwt.jwks }}
- name: tokens
  mountPath: /etc/airflow-agentic-tokens
  readOnly: true
{{- end }}
{{- if .Values.gateway.airflow.url }}
- name: airflow
  mountPath: /etc/airflow-agentic-airflow
  readOnly: true
{{- end }}
{{- with .Values.artifacts.persistence }}
{{- if .enabled }}
- name: artifacts
  mountPath: {{ .mountPath }}
{{- end }}
{{- end }}
{{- include "airflow-agentic.projectMounts" (dict "root" . "maps" (list "cards" "workflows")) }}
{{- with .Values.gateway.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "airflow-agentic.gatewayVolumes" -}}
- name: tmp
  emptyDir: {}
- name: jobs
  emptyDir: {}
{{- if not .Values.gateway.jwt.jwks }}
- name: tokens
  secret:
    secretName: {{ include "airflow-agentic.tokensSecret" . }}
{{- end }}
{{- with .Values.gateway.airflow }}
{{- if .url }}
- name: airflow
  secret:
    secretName: {{ .existingSecret }}
{{- end }}
{{- end }}
{{- if .Values.artifacts.persistence.enabled }}
- name: artifacts
  persistentVolumeClaim:
    claimName: {{ include "airflow-agentic.artifactsClaim" . }}
{{- end }}
{{- include "airflow-agentic.projectVolumes" (dict "root" . "maps" (list "cards" "workflows")) }}
{{- with .Values.gateway.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* {path, probe} */ -}}
{{- define "airflow-agentic.gatewayProbe" -}}
httpGet:
  path: {{ .path }}
  port: http
{{ toYaml .probe }}
{{- end -}}
