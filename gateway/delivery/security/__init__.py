"""TLS towards next hops that can be trusted: MTA-STS, DANE, REQUIRETLS, and the reports about them (RFC 8461, 7672, 8689, 8460)."""
