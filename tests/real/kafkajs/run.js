// One use of kafkajs, told by JSON on standard input and answered by one line of JSON on standard output.
// {client: {brokers, ca, mechanism, token}, action, ...} -> {ok: ...} or {error: {name, type, message}}
'use strict'
const fs = require('fs')
const { Kafka, logLevel, CompressionTypes } = require('kafkajs')

function connect ({ brokers, ca, mechanism, token }) {
  const settings = { clientId: 'kafkajs-suite', brokers, logLevel: logLevel.NOTHING, retry: { retries: 3 } }
  if (ca) {
    settings.ssl = { ca: [fs.readFileSync(ca, 'utf-8')] }
    settings.sasl = mechanism === 'plain'
      ? { mechanism, username: 'token', password: token }
      : { mechanism, oauthBearerProvider: async () => ({ value: token }) }
  }
  return new Kafka(settings)
}

async function withProducer (kafka, options, use) {
  const producer = kafka.producer({ ...options, allowAutoTopicCreation: false })
  await producer.connect()
  try { return await use(producer) } finally { await producer.disconnect() }
}

const messages = values => values.map(value => ({ key: value, value }))

const actions = {
  produce: (kafka, { topic, values, idempotent }) =>
    withProducer(kafka, { idempotent: Boolean(idempotent) }, producer =>
      producer.send({ topic, acks: -1, compression: CompressionTypes.GZIP, messages: messages(values) })),

  // Each topic by itself, so that the answer says which of them failed.
  produceEach: (kafka, { topics, values }) =>
    withProducer(kafka, {}, async producer => {
      const outcome = {}
      for (const topic of topics) {
        try {
          await producer.send({ topic, acks: -1, messages: messages(values) })
          outcome[topic] = 'sent'
        } catch (error) { const cause = innermost(error); outcome[topic] = cause.type || cause.message }
      }
      return outcome
    }),

  transaction: (kafka, { topic, values, transactionalId, abort }) =>
    withProducer(kafka, { transactionalId, idempotent: true, maxInFlightRequests: 1 }, async producer => {
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: messages(values) })
      await (abort ? transaction.abort() : transaction.commit())
    }),

  consume: async (kafka, { topic, group, count, waitMs }) => {
    const consumer = kafka.consumer({ groupId: group, allowAutoTopicCreation: false })
    const found = []
    let timer
    try {
      return await new Promise((resolve, reject) => {
        timer = setTimeout(() => reject(new Error(`${found.length} of ${count} messages in time`)), waitMs)
        consumer.on(consumer.events.CRASH, event => reject(event.payload.error))
        consumer.connect()
          .then(() => consumer.subscribe({ topics: [topic], fromBeginning: true }))
          .then(() => consumer.run({
            eachMessage: async ({ message }) => {
              found.push(message.value.toString())
              if (found.length >= count) resolve(found)
            }
          }))
          .catch(reject)
      })
    } finally {
      clearTimeout(timer)
      await consumer.disconnect()
    }
  },

  admin: async (kafka, { topic, group }) => {
    const admin = kafka.admin()
    await admin.connect()
    try {
      const created = await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 2 }] })
      const metadata = await admin.fetchTopicMetadata({ topics: [topic] })
      const configs = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: 2, name: topic }] })
      await admin.alterConfigs({
        validateOnly: false,
        resources: [{ type: 2, name: topic, configEntries: [{ name: 'retention.ms', value: '86400000' }] }]
      })
      const cluster = await admin.describeCluster()
      const groups = group ? (await admin.describeGroups([group])).groups.map(each => each.state) : []
      const listed = (await admin.listTopics()).includes(topic)
      await admin.deleteTopics({ topics: [topic] })
      return {
        created,
        listed,
        partitions: metadata.topics[0].partitions.length,
        configs: configs.resources[0].configEntries.length,
        brokers: cluster.brokers.map(each => `${each.host}:${each.port}`).sort(),
        groups
      }
    } finally { await admin.disconnect() }
  },

  create: async (kafka, { topic }) => {
    const admin = kafka.admin()
    await admin.connect()
    try { return await admin.createTopics({ topics: [{ topic }] }) } finally { await admin.disconnect() }
  }
}

// The cause an operator looks for may be inside a retry's error, or one of several.
function innermost (error) {
  if (error.errors && error.errors.length) return innermost(error.errors[0])
  return error.cause && error.cause !== error ? innermost(error.cause) : error
}

async function main () {
  const told = JSON.parse(fs.readFileSync(0, 'utf-8'))
  try {
    const ok = await actions[told.action](connect(told.client), told)
    return { ok: ok === undefined ? null : ok }
  } catch (error) {
    const cause = innermost(error)
    return { error: { name: cause.name, type: cause.type || null, message: cause.message } }
  }
}

main().then(answer => process.stdout.write(JSON.stringify(answer) + '\n', () => process.exit(0)))
