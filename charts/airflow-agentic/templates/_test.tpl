{{- /* Image of the pods of `helm test`, and how it is pulled. */ -}}

{{- define "airflow-agentic.testImage" -}}
{{- $server := first (include "airflow-agentic.servers" . | fromYaml).servers | default dict -}}
{{- .Values.test.image | default $server.image | default (.Values.gateway.enabled | ternary .Values.gateway.image "") -}}
{{- end -}}

{{- define "airflow-agentic.testPull" -}}
{{- $server := first (include "airflow-agentic.servers" . | fromYaml).servers | default dict -}}
{{- $server.imagePullPolicy | default (.Values.gateway.enabled | ternary .Values.gateway.imagePullPolicy .Values.modelServerDefaults.imagePullPolicy) -}}
{{- end -}}
