"""A million records through the gateway while everything around them falls out, moves and is renewed.

    python -m loadtest.million [--records N] [--seconds BETWEEN_FAULTS] [--seed N]

records   records that prove themselves, what is known of each, and the comparison at the end
clients   producers (idempotent, transactional) and readers, each in a thread of its own
storm     what is done to brokers, gateway, leaders, certificates, policies and keys meanwhile
report    the line of progress, the table, and what is stored
__main__  the command
"""
