{{- /*
Cards and workflows in a pod: /etc/airflow-agentic/models and /etc/airflow-agentic/workflows. Each template takes
{root, maps}: the maps are some of [cards, workflows].
*/ -}}

{{- /* The name of a ConfigMap, or nothing: {root, map}. */ -}}
{{- define "airflow-agentic.projectMap" -}}
{{- $own := get .root.Values.project .map | empty | not | ternary (printf "%s-%s" (include "airflow-agentic.fullname" .root) .map) "" -}}
{{- get .root.Values.project (printf "existing%s" (title .map)) | default $own -}}
{{- end -}}

{{- define "airflow-agentic.projectVolumes" -}}
{{- $root := .root -}}
{{- if $root.Values.project.image }}
- name: project
  emptyDir: {}
{{- else }}
{{- range $map := .maps }}
{{- with include "airflow-agentic.projectMap" (dict "root" $root "map" $map) }}
- name: {{ $map }}
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "airflow-agentic.projectMounts" -}}
{{- $root := .root -}}
{{- if $root.Values.project.image }}
- name: project
  mountPath: /etc/airflow-agentic
  readOnly: true
{{- else }}
{{- range $map := .maps }}
{{- if include "airflow-agentic.projectMap" (dict "root" $root "map" $map) }}
- name: {{ $map }}
  mountPath: /etc/airflow-agentic/{{ eq $map "cards" | ternary "models" $map }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Copies the project out of its image. */ -}}
{{- define "airflow-agentic.projectInit" -}}
{{- if .root.Values.project.image }}
- name: project
  image: {{ .root.Values.project.image | quote }}
  command: [cp, -R, {{ printf "%s/." (trimSuffix "/" .root.Values.project.imagePath) | quote }}, /etc/airflow-agentic]
  securityContext:
    {{- include "airflow-agentic.containerSecurity" .root | nindent 4 }}
  volumeMounts:
    - name: project
      mountPath: /etc/airflow-agentic
{{- end }}
{{- end -}}
