"""Language models that are asked which of two responses is better, and panels of scorers.

options  what a recipe may say of them; imports nothing heavy
texts    what a judge reads: a prompt file with the texts put in, between lines that none can forge
forms    what a judge may say, and the verdict in it
asking   each message once, what the store keeps not at all
scorer   a judge as a scorer: which pairs are asked, in which orders
served   a judge behind a server; local: one that is read here
harm     a judge of single responses, to attacks
cost     calls, tokens and price
panel    several scorers that vote
"""
