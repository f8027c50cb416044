{{- /*
What KubernetesPodOperator does in this namespace, and nothing more: YAML of {rules: […]}. It starts pods, finds them
by labels, marks them as checked (patch), follows their log and events, deletes them. Commands in pods are a GET that
is upgraded to a web socket; Kubernetes 1.35 also asks for `create`.
*/ -}}
{{- define "airflow-agentic.rules" -}}
rules:
  - apiGroups: [""]
    resources: [pods]
    verbs: [create, get, list, patch, delete]
  - apiGroups: [""]
    resources: [pods/log]
    verbs: [get]
  - apiGroups: [""]
    resources: [events]
    verbs: [list, watch]
  {{- if include "airflow-agentic.exec" . }}
  - apiGroups: [""]
    resources: [pods/exec]
    verbs: [create, get]
  {{- end }}
{{- end -}}
