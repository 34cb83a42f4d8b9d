"""Suites against real brokers and with real client libraries, and the processes they need.

jars      Kafka's jars by Maven, resolved once into a cache outside the repository
kafka     a real Apache Kafka cluster (KRaft) of one broker or several
java      the Java client's own tools
node      kafkajs by npm
gateway   ``gateway run`` as a process
"""
