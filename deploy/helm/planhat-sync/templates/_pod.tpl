{{- /* The pod that runs a command of the program: of the Deployment, of the CronJob, and of the test. Each may do the same: nothing but
connect to Planhat and to the database. */ -}}

{{- /* What every pod spec has, without its containers. */ -}}
{{- define "planhat-sync.podSpec" -}}
serviceAccountName: {{ include "planhat-sync.serviceAccountName" . }}
automountServiceAccountToken: false
# Variables for each Service of the namespace would begin with the program's own names.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  {{- with .Values.securityContext.runAsUser }}
  runAsUser: {{ int64 . }}
  {{- end }}
  {{- with .Values.securityContext.runAsGroup }}
  runAsGroup: {{ int64 . }}
  {{- end }}
  {{- with .Values.securityContext.fsGroup }}
  fsGroup: {{ int64 . }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  {{- include "planhat-sync.volumes" . | nindent 2 }}
{{- end -}}

{{- /* What every container has, without its arguments and probes. */ -}}
{{- define "planhat-sync.container" -}}
name: planhat-sync
image: {{ include "planhat-sync.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "planhat-sync.volumeMounts" . | nindent 2 }}
{{- end -}}

{{- /* The variables: where the files with secrets are, and what the user adds. */ -}}
{{- define "planhat-sync.env" -}}
{{- $root := . -}}
{{- range $secret, $setting := include "planhat-sync.fileSettings" . | fromYaml }}
{{- if dig $secret "secret" "" $root.Values.secrets }}
- name: PLANHAT_SYNC__{{ $setting | replace "." "__" | upper }}
  value: {{ include "planhat-sync.secretsFolder" $root }}/{{ $secret }}
{{- end }}
{{- end }}
{{- if or .Values.databaseCa.configMap .Values.databaseCa.secret }}
- name: PGSSLROOTCERT
  value: /etc/planhat-database-ca/ca.crt
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* No subPath anywhere: a file that is mounted so never changes in a running pod. */ -}}
{{- define "planhat-sync.volumeMounts" -}}
- name: settings
  mountPath: {{ include "planhat-sync.settingsFolder" . }}
  readOnly: true
{{- if include "planhat-sync.hasSecrets" . }}
- name: secrets
  mountPath: {{ include "planhat-sync.secretsFolder" . }}
  readOnly: true
{{- end }}
{{- if include "planhat-sync.hasWorkspaces" . }}
- name: workspaces
  mountPath: {{ include "planhat-sync.workspacesFolder" . }}
  readOnly: true
{{- end }}
{{- if .Values.workspaceTokens.secret }}
- name: workspace-tokens
  mountPath: {{ include "planhat-sync.workspaceTokensFolder" . }}
  readOnly: true
{{- end }}
{{- if include "planhat-sync.workspaceSecrets" . }}
- name: workspace-secrets
  mountPath: {{ include "planhat-sync.workspaceSecretsFolder" . }}
  readOnly: true
{{- end }}
{{- if or .Values.databaseCa.configMap .Values.databaseCa.secret }}
- name: database-ca
  mountPath: /etc/planhat-database-ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "planhat-sync.volumes" -}}
- name: settings
  configMap:
    name: {{ include "planhat-sync.fullname" . }}-settings
{{- if include "planhat-sync.hasSecrets" . }}
- name: secrets
  projected:
    # The group of the pod may read, and nobody else.
    defaultMode: 0440
    sources:
      {{- range $name, $from := .Values.secrets }}
      {{- if $from.secret }}
      - secret:
          name: {{ $from.secret }}
          items:
            - key: {{ $from.key | default $name }}
              path: {{ $name }}
      {{- end }}
      {{- end }}
{{- end }}
{{- if include "planhat-sync.hasWorkspaces" . }}
- name: workspaces
  configMap:
    name: {{ .Values.workspacesConfigMap | default (printf "%s-workspaces" (include "planhat-sync.fullname" .)) }}
{{- end }}
{{- with .Values.workspaceTokens.secret }}
- name: workspace-tokens
  secret:
    secretName: {{ . }}
    # All keys, also those that come later.
    defaultMode: 0440
{{- end }}
{{- with include "planhat-sync.workspaceSecrets" . | trim }}
- name: workspace-secrets
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- if or .Values.databaseCa.configMap .Values.databaseCa.secret }}
- name: database-ca
  projected:
    sources:
      {{- if .Values.databaseCa.configMap }}
      - configMap:
          name: {{ .Values.databaseCa.configMap }}
      {{- else }}
      - secret:
          name: {{ .Values.databaseCa.secret }}
      {{- end }}
          items:
            - key: {{ .Values.databaseCa.key }}
              path: ca.crt
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* "true" if secrets of all workspaces are mounted. */ -}}
{{- define "planhat-sync.hasSecrets" -}}
{{- range .Values.secrets }}{{ if .secret }}true{{ end }}{{ end -}}
{{- end -}}

{{- /* Secrets of single workspaces, as sources of a projected volume. One that is missing is the trouble of its workspace alone, and keeps
no pod from starting. */ -}}
{{- define "planhat-sync.workspaceSecrets" -}}
{{- range $workspace, $values := .Values.workspaces }}
{{- range $name, $from := dig "secrets" dict ($values | default dict) }}
{{- if $from.secret }}
- secret:
    name: {{ $from.secret }}
    optional: true
    items:
      - key: {{ $from.key | default $name }}
        path: {{ $workspace }}/{{ $name }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
