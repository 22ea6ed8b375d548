{{- /* Names, labels, and what the values become: lists of secrets, files of settings. */ -}}

{{- define "planhat-sync.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* The names of what belongs to a release. At most 52 characters, since a CronJob adds 11 to them. */ -}}
{{- define "planhat-sync.fullname" -}}
{{- $name := include "planhat-sync.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "planhat-sync.selectorLabels" -}}
app.kubernetes.io/name: {{ include "planhat-sync.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "planhat-sync.labels" -}}
{{ include "planhat-sync.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{- define "planhat-sync.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "planhat-sync.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "planhat-sync.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository is empty: build the image from the Dockerfile, push it to a registry of yours, and name it here" $image.repository -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* "true" if there are several workspaces, or could be. */ -}}
{{- define "planhat-sync.hasWorkspaces" -}}
{{- if or .Values.workspaces .Values.workspacesConfigMap -}}true{{- end -}}
{{- end -}}

{{- /* What the schema cannot see: values that contradict each other, or that are missing together. */ -}}
{{- define "planhat-sync.checkValues" -}}
{{- $v := .Values -}}
{{- $database := $v.settings.database | default dict -}}
{{- $planhat := $v.settings.planhat | default dict -}}
{{- if and $v.secrets.database_url.secret (or $database.url $database.url_file) -}}
{{- fail "secrets.database_url and settings.database.url (or url_file) are both set: leave one of them out" -}}
{{- end -}}
{{- if not (or $v.secrets.database_url.secret $database.url $database.url_file) -}}
{{- fail "no database: set secrets.database_url.secret, or settings.database.url" -}}
{{- end -}}
{{- if and $v.secrets.planhat_api_token.secret $planhat.token_file -}}
{{- fail "secrets.planhat_api_token and settings.planhat.token_file are both set: leave one of them out" -}}
{{- end -}}
{{- if and $v.workspaces $v.workspacesConfigMap -}}
{{- fail "workspaces and workspacesConfigMap are both set: leave one of them out" -}}
{{- end -}}
{{- if and (include "planhat-sync.hasWorkspaces" .) (or $v.secrets.planhat_api_token.secret $planhat.token_file) -}}
{{- fail "secrets.planhat_api_token is the token of a single workspace: with several, use workspaceTokens.secret, or secrets.planhat_api_token of each" -}}
{{- end -}}
{{- if and (not (include "planhat-sync.hasWorkspaces" .)) (not (or $v.secrets.planhat_api_token.secret $planhat.token_file)) -}}
{{- fail "no token: set secrets.planhat_api_token.secret for a single workspace, or workspaces for several" -}}
{{- end -}}
{{- if and $v.workspaceTokens.secret (not (include "planhat-sync.hasWorkspaces" .)) -}}
{{- fail "workspaceTokens.secret is set, and there are no workspaces: for a single one use secrets.planhat_api_token" -}}
{{- end -}}
{{- if and $v.databaseCa.configMap $v.databaseCa.secret -}}
{{- fail "databaseCa.configMap and databaseCa.secret are both set: leave one of them out" -}}
{{- end -}}
{{- if and (eq $v.mode "cronjob") (include "planhat-sync.hasWorkspaces" .) -}}
{{- fail "mode cronjob is for a single workspace: use mode daemon for several" -}}
{{- end -}}
{{- if and (eq $v.mode "cronjob") (or $v.service.enabled $v.serviceMonitor.enabled) -}}
{{- fail "a CronJob serves no metrics: service and serviceMonitor need mode daemon" -}}
{{- end -}}
{{- if and $v.test.workspaces (not (include "planhat-sync.hasWorkspaces" .)) -}}
{{- fail "test.workspaces is set, and there are no workspaces" -}}
{{- end -}}
{{- range $name, $workspace := $v.workspaces -}}
{{- $workspace = $workspace | default dict -}}
{{- $own := dig "secrets" "planhat_api_token" "secret" "" $workspace -}}
{{- $file := dig "settings" "planhat" "token_file" "" $workspace -}}
{{- if and $own $file -}}
{{- fail (printf "workspaces.%s: secrets.planhat_api_token and settings.planhat.token_file are both set: leave one of them out" $name) -}}
{{- end -}}
{{- if not (or $own $file $v.workspaceTokens.secret) -}}
{{- fail (printf "workspaces.%s has no token: set workspaceTokens.secret, or its own secrets.planhat_api_token.secret" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Where the files with secrets are in a pod. */ -}}
{{- define "planhat-sync.secretsFolder" -}}/run/secrets/planhat-sync{{- end -}}
{{- define "planhat-sync.workspaceTokensFolder" -}}/run/secrets/planhat-workspace-tokens{{- end -}}
{{- define "planhat-sync.workspaceSecretsFolder" -}}/run/secrets/planhat-workspaces{{- end -}}
{{- define "planhat-sync.settingsFolder" -}}/etc/planhat-sync{{- end -}}
{{- define "planhat-sync.workspacesFolder" -}}/etc/planhat-workspaces{{- end -}}

{{- /* The setting that names the file of each secret. */ -}}
{{- define "planhat-sync.fileSettings" -}}
planhat_api_token: planhat.token_file
database_url: database.url_file
database_password: database.password_file
privacy_hash_key: privacy.hash_key_file
notify_webhook_url: notify.webhook_url_file
notify_webhook_secret: notify.webhook_secret_file
notify_ping_url: notify.ping_url_file
{{- end -}}

{{- /* Sections of settings as TOML. A scalar or a list of texts is written alike in TOML and in JSON; numbers stay as they are, which
Helm's own toToml does not promise. */ -}}
{{- define "planhat-sync.toml" -}}
{{- range $section, $keys := . }}
{{- if eq $section "objects" }}
{{- range $object, $rules := $keys }}
[objects.{{ $object }}]
{{- range $key, $value := $rules }}
{{ $key }} = {{ toRawJson $value }}
{{- end }}
{{ end }}
{{- else if $keys }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ toRawJson $value }}
{{- end }}
{{ end }}
{{- end }}
{{- end -}}

{{- /* The settings of one workspace with the files of its secrets. Takes a list: the root, its name, its values. */ -}}
{{- define "planhat-sync.workspaceSettings" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $workspace := index . 2 | default dict -}}
{{- $settings := deepCopy ($workspace.settings | default dict) -}}
{{- $own := $workspace.secrets | default dict -}}
{{- $files := dict -}}
{{- range $secret, $setting := include "planhat-sync.fileSettings" $root | fromYaml -}}
{{- if dig $secret "secret" "" $own -}}
{{- $_ := set $files $setting (printf "%s/%s/%s" (include "planhat-sync.workspaceSecretsFolder" $root) $name $secret) -}}
{{- end -}}
{{- end -}}
{{- if not (or (hasKey $files "planhat.token_file") (dig "planhat" "token_file" "" $settings)) -}}
{{- $_ := set $files "planhat.token_file" (printf "%s/%s" (include "planhat-sync.workspaceTokensFolder" $root) $name) -}}
{{- end -}}
{{- range $setting, $file := $files -}}
{{- $parts := splitList "." $setting -}}
{{- $section := get $settings (index $parts 0) | default dict -}}
{{- $_ := set $settings (index $parts 0) (merge (dict (index $parts 1) $file) $section) -}}
{{- end -}}
{{- include "planhat-sync.toml" $settings | trim -}}
{{- end -}}

{{- /* The settings file of the pods. */ -}}
{{- define "planhat-sync.settingsFile" -}}
{{- if include "planhat-sync.hasWorkspaces" . -}}
workspaces_dir = {{ include "planhat-sync.workspacesFolder" . | quote }}
{{ end -}}
{{- include "planhat-sync.toml" .Values.settings -}}
{{- end -}}
