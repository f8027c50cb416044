{{- /* Parts of a model server's pod, each of {root, server}. */ -}}

{{- define "airflow-agentic.serverAnnotations" -}}
{{- $ours := dict "kubectl.kubernetes.io/default-container" "model" -}}
{{- if not .server.http.enabled }}{{ $_ := set $ours "airflow-agentic/socket" (include "airflow-agentic.socket" .root) }}{{ end -}}
{{- with .server.cardText }}{{ $_ := set $ours "airflow-agentic/card-sha256" (sha256sum .) }}{{ end -}}
{{- toYaml (merge $ours .server.podAnnotations) -}}
{{- end -}}

{{- /* One init container a digest: each is checked and started anew alone. */ -}}
{{- define "airflow-agentic.serverInit" -}}
{{- $root := .root -}}
{{- $server := .server -}}
{{- if not (isAbs $server.card) }}
{{- include "airflow-agentic.projectInit" . }}
{{- end }}
{{- range $index, $digest := .server.files.fetch }}
- name: fetch-{{ $index }}
  image: {{ $server.image | quote }}
  imagePullPolicy: {{ $server.imagePullPolicy }}
  args: [fetch, --store, {{ $root.Values.artifacts.uri | quote }}, --sha256, {{ $digest | quote }}]
  {{- with $server.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $server.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "airflow-agentic.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    - name: files
      mountPath: /models
    {{- if $root.Values.artifacts.persistence.enabled }}
    - name: artifacts
      mountPath: {{ $root.Values.artifacts.persistence.mountPath }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "airflow-agentic.serverMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if not (isAbs .server.card) }}
{{- include "airflow-agentic.projectMounts" (dict "root" .root "maps" (list "cards")) }}
{{- end }}
{{- if or .server.files.fetch .server.files.existingClaim }}
- name: files
  mountPath: /models
  readOnly: true
{{- end }}
{{- with .root.Values.artifacts.persistence }}
{{- if .enabled }}
- name: artifacts
  mountPath: {{ .mountPath }}
{{- end }}
{{- end }}
{{- with .server.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "airflow-agentic.serverVolumes" -}}
- name: tmp
  emptyDir: {}
{{- if not (isAbs .server.card) }}
{{- include "airflow-agentic.projectVolumes" (dict "root" .root "maps" (list "cards")) }}
{{- end }}
{{- with .server.files }}
{{- if .existingClaim }}
- name: files
  persistentVolumeClaim:
    claimName: {{ .existingClaim }}
    readOnly: true
{{- else if .fetch }}
- name: files
  emptyDir: {}
{{- end }}
{{- end }}
{{- if .root.Values.artifacts.persistence.enabled }}
- name: artifacts
  persistentVolumeClaim:
    claimName: {{ include "airflow-agentic.artifactsClaim" .root }}
{{- end }}
{{- with .server.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
