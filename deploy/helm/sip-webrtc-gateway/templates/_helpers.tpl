{{/* Port of config.web.listen: probes, Service and Prometheus ask there. */}}
{{- define "gateway.webPort" -}}
{{ splitList ":" .Values.config.web.listen | last }}
{{- end }}
{{/* Whether the page has a certificate of its own. */}}
{{- define "gateway.scheme" -}}
{{ if or .Values.tlsSecret (dig "web" "tls" "cert" "" .Values.config) }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}
