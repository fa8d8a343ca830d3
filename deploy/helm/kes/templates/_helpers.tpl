{{- define "kes.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Of a release named <tenant>-kes, the headless service is then <tenant>-kes-hl-svc, as the operator names it. */}}
{{- define "kes.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "kes.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "kes.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kes.headless" -}}
{{- printf "%s-hl-svc" (include "kes.fullname" .) -}}
{{- end -}}

{{- define "kes.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kes.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "kes.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{- printf "%s-tls" (include "kes.fullname" .) -}}
{{- else -}}
{{- required "set tls.existingSecret to a secret of type kubernetes.io/tls, or tls.certManager.enabled" .Values.tls.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "kes.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "kes.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kes.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kes.labels" -}}
{{ include "kes.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The ports of vault.endpoint, in a list of JSON, or the one that networkPolicy.vaultPort sets. */}}
{{- define "kes.vaultPorts" -}}
{{- $ports := list -}}
{{- if .Values.networkPolicy.vaultPort -}}
{{- $ports = list (int .Values.networkPolicy.vaultPort) -}}
{{- else -}}
{{- range splitList "," .Values.vault.endpoint -}}
{{- $authority := regexReplaceAll "^https?://([^/]*).*$" . "${1}" -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" -}}
{{- if contains "$" $authority -}}
{{- fail "set networkPolicy.vaultPort: vault.endpoint has a variable" -}}
{{- end -}}
{{- $ports = append $ports (int (default (ternary "443" "80" (hasPrefix "https:" .)) $port)) -}}
{{- end -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{/* The configuration file. It holds no secret. */}}
{{- define "kes.config" -}}
{{- range splitList "," .Values.vault.endpoint }}
{{- if and (hasPrefix "http:" .) (not $.Values.vault.allowPlainHTTP) }}
{{- fail (printf "vault.endpoint has %s, where keys and logins are not encrypted on the network; use https, or set vault.allowPlainHTTP to true" .) }}
{{- end }}
{{- end -}}
{{- $clients := list -}}
{{- range .Values.policy }}{{ $clients = concat $clients (default list .identities) }}{{ end }}
{{- if and (not $clients) (has .Values.admin.identity (list "disabled" "_")) }}
{{- fail "set policy.minio.identities to what `kes identity of` prints for the certificate of MinIO: no client could use the server" }}
{{- end -}}
address: 0.0.0.0:7373
{{- if .Values.operations.enabled }}
operations:
  address: 0.0.0.0:7374
  tls: on
  {{- if .Values.operations.page }}
  page: on
  {{- if .Values.operations.details }}
  details: on
  {{- end }}
  {{- end }}
{{- end }}
admin:
  identity: {{ .Values.admin.identity | quote }}
tls:
  key: /etc/kes/tls.key
  cert: /etc/kes/tls.crt
policy:
  {{- toYaml .Values.policy | nindent 2 }}
{{- with .Values.cache }}
cache:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.limits }}
limits:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.log }}
log:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.keys }}
keys:
{{ toYaml . }}
{{- end }}
keystore:
  vault:
    endpoint: {{ required "set vault.endpoint to the URL of Vault or OpenBao" .Values.vault.endpoint | quote }}
    engine: {{ .Values.vault.engine | quote }}
    version: {{ .Values.vault.version }}
    {{- with .Values.vault.namespace }}
    namespace: {{ . | quote }}
    {{- end }}
    {{- with .Values.vault.prefix }}
    prefix: {{ . | quote }}
    {{- end }}
    {{- if and .Values.vault.appRole.existingSecret .Values.vault.kubernetes.role }}
    {{- fail "set one of vault.appRole.existingSecret and vault.kubernetes.role, not both" }}
    {{- else if .Values.vault.appRole.existingSecret }}
    approle:
      engine: {{ .Values.vault.appRole.engine | quote }}
      id: ${APPROLE_ID}
      secret_file: /etc/kes/secret-id
    {{- else if .Values.vault.kubernetes.role }}
    kubernetes:
      engine: {{ .Values.vault.kubernetes.engine | quote }}
      role: {{ .Values.vault.kubernetes.role | quote }}
      jwt: /etc/kes/token
    {{- else }}
    {{- fail "set vault.appRole.existingSecret or vault.kubernetes.role: one of the two logs in to Vault" }}
    {{- end }}
    {{- if .Values.vault.transit.key }}
    transit:
      engine: {{ .Values.vault.transit.engine | quote }}
      key: {{ .Values.vault.transit.key | quote }}
    {{- end }}
    {{- if .Values.vault.caSecret }}
    tls:
      ca: /etc/kes/vault-ca.crt
    {{- end }}
{{- end -}}
