{{- /* Names, labels and what every pod has. */ -}}

{{- define "airflow-agentic.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* RELEASE-NAME, or RELEASE alone where it has the name in it. */ -}}
{{- define "airflow-agentic.fullname" -}}
{{- $name := include "airflow-agentic.name" . -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $both | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* A label's value: at most 63 characters, "+" as "_", a letter or digit at the end. Airflow computes the same. */ -}}
{{- define "airflow-agentic.label" -}}
{{- . | toString | replace "+" "_" | trunc 63 | trimAll "-._" -}}
{{- end -}}

{{- define "airflow-agentic.selector" -}}
app.kubernetes.io/name: {{ include "airflow-agentic.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- /* Of a pod: without versions, so that an upgrade of the chart alone starts no
model anew. {root, component}; ours win over commonLabels. */ -}}
{{- define "airflow-agentic.podLabels" -}}
{{- $ours := include "airflow-agentic.selector" . | fromYaml -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $ours "app.kubernetes.io/part-of" "airflow-agentic" -}}
{{- toYaml (merge $ours .root.Values.commonLabels) -}}
{{- end -}}

{{- /* Of an object of the chart: {root, component}. */ -}}
{{- define "airflow-agentic.labels" -}}
{{- $labels := include "airflow-agentic.podLabels" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- toYaml $labels -}}
{{- end -}}

{{- define "airflow-agentic.modelsAccount" -}}
{{- $account := .Values.models.serviceAccount -}}
{{- $account.name | default ($account.create | ternary (printf "%s-models" (include "airflow-agentic.fullname" .)) "default") -}}
{{- end -}}

{{- /* Empty where Airflow's pods have no ServiceAccount in this namespace. */ -}}
{{- define "airflow-agentic.airflowAccount" -}}
{{- $account := .Values.airflow.serviceAccount -}}
{{- $account.name | default ($account.create | ternary (printf "%s-airflow" (include "airflow-agentic.fullname" .)) "") -}}
{{- end -}}

{{- /* "true" or nothing: may Airflow execute commands in pods? */ -}}
{{- define "airflow-agentic.exec" -}}
{{- $exec := .Values.airflow.rbac.exec -}}
{{- if eq (toString $exec) "auto" -}}
{{- $warm := "" -}}
{{- range (include "airflow-agentic.servers" . | fromYaml).servers -}}
{{- if not .http.enabled -}}{{- $warm = "true" -}}{{- end -}}
{{- end -}}
{{- $warm -}}
{{- else if $exec -}}true{{- end -}}
{{- end -}}

{{- define "airflow-agentic.gatewayAccount" -}}
{{- $account := .Values.gateway.serviceAccount -}}
{{- $account.name | default ($account.create | ternary (printf "%s-gateway" (include "airflow-agentic.fullname" .)) "default") -}}
{{- end -}}

{{- /* A new pod is ready before an old one ends. */ -}}
{{- define "airflow-agentic.rolling" -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- end -}}

{{- /* Names of hosts, and what the values allow. */ -}}
{{- define "airflow-agentic.egress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- with .Values.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "airflow-agentic.artifactsClaim" -}}
{{- .Values.artifacts.persistence.existingClaim | default (printf "%s-artifacts" (include "airflow-agentic.fullname" .)) -}}
{{- end -}}

{{- /* What pod security "restricted" asks of a pod, and the user. */ -}}
{{- define "airflow-agentic.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAs.user }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.runAs.group }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.runAs.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* And of each of its containers. */ -}}
{{- define "airflow-agentic.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
