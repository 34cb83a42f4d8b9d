from gateway.edge.channels import PlainChannel as plain_channel, TlsChannel as tls_channel
