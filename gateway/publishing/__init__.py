"""Events leave the gateway: the roads to the contact database and to webhook endpoints, beside the mail and never in its way."""
